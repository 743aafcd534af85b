"""Which speeds are printed, and what is said of those that are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.speed import BENCHMARK, FEWEST, Repeated, SpeedFacts
from mlx_publish.evidence.report import Finding, verdict_of
from mlx_publish.evidence.speed import CacheSize, LeftOut, LengthSpeed, PictureSpeed, Speed, Trial
from mlx_publish.machine.series import summary
from mlx_publish.recipes.recipe import SpeedTest

STEADY = (100.0, 101.0, 99.0, 100.5, 100.0)
FALLING = (21.1, 18.9, 18.8, 17.5)
SCATTERED = (100.0, 70.0, 110.0, 75.0, 100.0)
LOW_POWER = "Low power mode was on before and after the measurement."
HOT = "The thermal state of the machine was serious after the measurement."
BATTERY = "The machine ran on battery before and after the measurement."
OTHERS = "Other programs took 1.5 cores before the measurement: backup 90 %."


def length(
    prompt: int = 512,
    generation: int = 128,
    *,
    generations: tuple[float, ...] = STEADY,
    prompts: tuple[float, ...] = (),
) -> LengthSpeed:
    """A length as the engine returns it; by the rates of its trials."""
    prompts = prompts or tuple(20 * rate for rate in (STEADY * 9)[: len(generations)])
    trials = [Trial(*rates, first_token_s=0.1) for rates in zip(prompts, generations, strict=True)]
    rates = summary(prompts), summary(generations), summary([0.1] * len(trials))
    return LengthSpeed(prompt, generation, [], trials, *rates, peak_memory_bytes=0)


def facts(*lengths: LengthSpeed, device: str = "gpu", system: str = "Darwin", **more: Any) -> SpeedFacts:
    """A measurement; `by` names the backend and the GPU."""
    asked = SpeedTest.model_validate({"prompt_tokens": [one.prompt_tokens for one in lengths] or [512]})
    speed = Speed(
        device=device,
        computed_in="float32",
        seconds=asked.seconds,
        asked_generation_tokens=asked.generation_tokens,
        asked_trials=asked.trials,
        lengths=list(lengths) or [length()],
        left_out=more.pop("left_out", []),
        cache=CacheSize(1, 0, 0),
        peak_memory_bytes=0,
        process_memory_bytes=0,
        **more.pop("by", {}),
    )
    return SpeedFacts(speed, more.pop("limits", asked), **{"refusals": (), "remarks": (), **more}, system=system)


def judge(check: str, given: SpeedFacts) -> Finding:
    found = run_checks(BENCHMARK, given)
    assert verdict_of(found) == "pass", "a speed refuses no model"
    return next(finding for finding in found if finding.id == check)


def test_what_is_good_passes_every_check() -> None:
    given = facts(length(128), length(512))
    found = run_checks(BENCHMARK, given)
    assert [(finding.id, finding.status, finding.message) for finding in found] == [
        (
            "steady",
            "pass",
            "generation tokens/s (GPU): 100.0 (99.0 to 101.0) after a prompt of 128, 100.0 (99.0 to 101.0) after a prompt of 512",
        ),
        ("machine-at-rest", "pass", "nothing is known to have slowed it down"),
        ("device", "pass", "measured on the GPU"),
        ("enough", "pass", "5 trials of 2 length(s), 128 tokens each"),
    ]
    assert given.objections() == ()


def test_a_number_of_linux_says_so_wherever_it_stands() -> None:
    for given in (
        facts(device="cpu", system="Linux"),
        facts(length(generations=FALLING), device="cpu", system="Linux"),
    ):
        assert "(Linux, CPU" in judge("steady", given).message
    assert judge("device", given).message == "measured on the CPU under Linux, and every number says so"
    assert given.objections() == (
        "drift: it fell by 17% from 21.1 to 17.5 generation tokens/s (Linux, CPU; prompts of 512 tokens)",
    )


def test_every_number_of_an_nvidia_gpu_names_it() -> None:
    by = {"backend": "cuda", "gpu": "NVIDIA H100 80GB HBM3"}
    given = facts(length(512), length(64, generations=FALLING), system="Linux", by=by)
    told = "measured on an NVIDIA GPU (NVIDIA H100 80GB HBM3, CUDA), and every number says so"
    assert judge("device", given).message == told
    assert "generation tokens/s (NVIDIA H100 80GB HBM3, CUDA; prompts of 64 tokens)" in judge("steady", given).message
    assert judge("steady", facts(length(), system="Linux", by=by)).message.startswith(
        "generation tokens/s (NVIDIA H100 80GB HBM3, CUDA): "
    )
    unnamed = facts(length(), system="Linux", by={"backend": "cuda"})
    assert unnamed.device == "NVIDIA GPU, CUDA"
    assert list(given.wrong_device()) == []


@pytest.mark.parametrize(
    ("one", "deviation", "said"),
    [
        (
            length(generations=FALLING),
            12,
            "drift: it fell by 17% from 21.1 to 17.5 generation tokens/s (GPU; prompts of 512 tokens)",
        ),
        (
            length(2048, generations=SCATTERED),
            30,
            "spread: 70.0 to 110.0, 40% of the median generation tokens/s (GPU; prompts of 2048 tokens)",
        ),
        (
            length(prompts=(2000.0, 1900.0, 1800.0, 1700.0, 1600.0)),
            11,
            "drift: it fell by 20% from 2000.0 to 1600.0 prompt tokens/s (GPU; prompts of 512 tokens)",
        ),
    ],
)
def test_an_unsteady_speed_was_measured_and_is_not_published(one: LengthSpeed, deviation: int, said: str) -> None:
    given = facts(length(128), one)
    found = judge("steady", given)
    words = f"measured, too unsteady to publish (±{deviation} %): {said}"
    assert (found.status, found.message, given.withheld) == ("warn", words, words)
    assert "--force" in found.remedy
    assert given.objections() == (said,)


def test_of_two_series_the_other_one_is_told_too() -> None:
    second = facts(repeated=Repeated(1, 0.21, 35.0))
    assert judge("steady", second).message.endswith(
        "; measured again after a wait of 35 s, since the first series was too unsteady (±21 %)"
    )
    both = facts(length(generations=SCATTERED), repeated=Repeated(2, 0.4, 60.0))
    assert judge("steady", both).message.endswith("; measured again after a wait of 60 s: too unsteady (±40 %) too")


def test_the_limits_are_those_of_the_recipe() -> None:
    wide = SpeedTest.model_validate({"max_drift": 0.2, "max_spread": 0.5})
    for trials in (FALLING, SCATTERED):
        assert facts(length(generations=trials)).objections()
        assert facts(length(generations=trials), limits=wide).objections() == ()
    narrow = SpeedTest.model_validate({"max_spread": 0.01})
    assert [said.split(":")[0] for said in facts(limits=narrow).objections()] == ["spread", "spread"]


def test_warming_up_is_none_of_the_trials_and_does_not_count() -> None:
    one = replace(length(), warm_up=[Trial(1.0, 60.0, 0.1)])
    assert facts(one).objections() == ()


def test_the_speed_of_a_disturbed_machine_is_not_published() -> None:
    given = facts(refusals=(LOW_POWER, HOT), remarks=(BATTERY,))
    found = judge("machine-at-rest", given)
    low, hot = "low power mode was on before and after the measurement", HOT.replace("The", "the").rstrip(".")
    assert (found.status, found.message) == ("warn", f"measured, but not published: {low}; {hot}")
    assert "mlx-publish doctor" in found.remedy
    assert given.withheld == f"measured, but not published: {low}; {hot}"
    assert given.objections() == (low, hot)


def test_a_remark_is_told_and_the_speed_printed() -> None:
    given = facts(remarks=(BATTERY, OTHERS))
    found = judge("machine-at-rest", given)
    assert (found.status, found.message) == ("warn", f"{BATTERY} {OTHERS}")
    assert found.details == {"remarks": [BATTERY, OTHERS]}
    assert given.objections() == ()


def test_a_mac_that_computed_on_its_cpu_prints_nothing() -> None:
    given = facts(device="cpu")
    found = judge("device", given)
    said = "MLX ran on this Mac's CPU, not on its GPU"
    assert (found.status, found.message) == ("warn", f"measured, but not published: {said}")
    assert "Metal" in found.remedy
    assert given.objections() == (said,)


@pytest.mark.parametrize(("one", "least"), [(length(8), 8), (length(generation=15), 15), (length(8, 4), 4)])
def test_a_rate_over_a_handful_of_tokens_is_not_printed(one: LengthSpeed, least: int) -> None:
    given = facts(one)
    found = judge("enough", given)
    assert (found.status, found.message) == ("warn", f"measured, but not published: too few tokens: {least}")
    assert str(FEWEST) in found.remedy
    assert given.objections() == (f"too few tokens: {least}",)


def test_the_fewest_tokens_are_enough() -> None:
    assert facts(length(FEWEST, FEWEST)).objections() == ()


@pytest.mark.parametrize(
    ("lengths", "left_out", "said"),
    [
        (
            (length(128, generations=STEADY[:3]),),
            [],
            "shortened to fit 180 s: 3 trials of 128 tokens after a prompt of 128",
        ),
        ((length(128, 64),), [], "shortened to fit 180 s: 5 trials of 64 tokens after a prompt of 128"),
        ((length(128),), [2048], "left out: prompts of 2048 tokens (180 s are not enough)"),
        (
            (length(128), length(512, generations=STEADY[:4])),
            [2048],
            "shortened to fit 180 s: 4 trials of 128 tokens after a prompt of 512; left out: prompts of 2048 tokens (180 s are not enough)",
        ),
        (
            (length(128, generations=(100.1, 100.2, 100.3), prompts=(900.0, 900.1, 900.2)),),
            [],
            "more could not change the medians: 3 trials of 128 tokens after a prompt of 128",
        ),
        (
            (length(128, 64, generations=(100.1, 100.2, 100.3), prompts=(900.0, 900.1, 900.2)),),
            [],
            "shortened to fit 180 s: 3 trials of 64 tokens after a prompt of 128",
        ),
    ],
)
def test_what_was_made_smaller_or_left_out_is_told(
    lengths: tuple[LengthSpeed, ...], left_out: list[int], said: str
) -> None:
    why = "180 s are not enough"
    given = facts(*lengths, left_out=[LeftOut(prompt, why) for prompt in left_out])
    found = judge("enough", given)
    assert (found.status, found.message) == ("pass", said)
    assert given.objections() == ()


def test_objections_come_in_one_order() -> None:
    given = facts(length(8, generations=FALLING, prompts=SCATTERED[:4]), device="cpu", refusals=(LOW_POWER,))
    assert [said.split(" ")[0] for said in given.objections()] == ["spread:", "drift:", "low", "MLX", "too"]
    assert {finding.status for finding in run_checks(BENCHMARK, given)} == {"warn"}


def with_picture(*rates: float, alone: tuple[float, ...] = STEADY) -> PictureSpeed:
    seen, text = length(300, generations=rates or STEADY), length(300, generations=alone)
    return PictureSpeed(448, 448, 256, seen, text, summary([0.054, 0.056]))


def test_a_speed_with_a_picture_is_told_beside_that_of_text() -> None:
    given = facts(length(512), by={"picture": with_picture()})
    assert judge("picture-speed", given).message == (
        "first token after 0.1 s with a picture of 448 x 448 pixels (256 of 300 tokens; 0.055 s until its embeddings), "
        "0.1 s for as many tokens of text (GPU)"
    )
    assert given.published is given.speed


@pytest.mark.parametrize("picture", [with_picture(*FALLING), with_picture(*SCATTERED), with_picture(alone=SCATTERED)])
def test_an_unsteady_speed_with_a_picture_is_left_out_and_that_of_text_stays(picture: PictureSpeed) -> None:
    given = facts(length(512), by={"picture": picture})
    found = judge("picture-speed", given)
    assert found.status == "warn"
    assert "measured, too unsteady to publish" in found.message
    assert (given.objections(), given.withheld) == ((), "")
    assert given.published.picture is None
    assert (given.published.picture_not_measured or "").startswith("measured, too unsteady to publish (±")
    assert judge("steady", given).status == "pass"


@pytest.mark.parametrize("seconds", [[0.05, 0.09], [0.2, 0.21]])
def test_seconds_until_the_embeddings_that_scatter_or_exceed_the_whole_are_left_out(seconds: list[float]) -> None:
    given = facts(length(512), by={"picture": replace(with_picture(), encode_s=summary(seconds))})
    assert "embeddings" not in judge("picture-speed", given).message
    assert given.published.picture is not None
    assert given.published.picture.encode_s is None


def test_why_there_is_no_speed_with_a_picture_is_told() -> None:
    found = judge("picture-speed", facts(length(512), by={"picture_not_measured": "ValueError: no processor"}))
    assert (found.status, found.message) == ("warn", "no speed with a picture: ValueError: no processor")


def test_a_model_that_does_not_see_has_no_check_of_pictures() -> None:
    assert "picture-speed" not in {finding.id for finding in run_checks(BENCHMARK, facts(length(512)))}
