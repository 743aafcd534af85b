"""What is said of a comparison, and what is advised to a variant that is too far from its source."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.fidelity import FIDELITY, FidelityFacts, better
from mlx_publish.evidence.measured import Against, Divergence
from mlx_publish.evidence.report import Finding, verdict_of
from mlx_publish.recipes.recipe import FidelityTest, Variant

GOOD = Divergence(
    positions=1020,
    mean_kld=0.0512,
    mean_kld_error=0.0021,
    median_kld=0.03,
    p99_kld=0.4123,
    max_kld=1.5,
    same_first_choice=0.912,
    same_first_choice_error=0.009,
    perplexity_source=11.5,
    perplexity=12.0,
    perplexity_ratio=1.0434,
    perplexity_ratio_error=0.0051,
)
SOURCE = Against("source")
WIDEST = Against("variant", "8bit", 8.5012)
TOO_LARGE = "the source is too large for this machine"
NUMBERS = ("mean-kld", "same-first-choice", "perplexity")


def judge(
    divergence: Divergence | None,
    limits: dict[str, Any] | None = None,
    variant: dict[str, Any] | None = None,
    against: Against = SOURCE,
    **more: Any,
) -> dict[str, Finding]:
    asked, of = FidelityTest.model_validate(limits or {}), Variant.model_validate(variant or {})
    facts = FidelityFacts(divergence, against, asked, of, **more)
    return {finding.id: finding for finding in run_checks(FIDELITY, facts)}


def test_a_good_result_passes_every_check() -> None:
    assert [(finding.id, finding.status, finding.message) for finding in judge(GOOD).values()] == [
        ("compared-with", "pass", "compared with the unquantized source over 1,020 positions"),
        ("finite", "pass", "all numbers are finite over 1,020 positions"),
        ("mean-kld", "pass", "close: mean KLD 0.0512 ± 0.0021 nats, 99th percentile 0.412"),
        ("same-first-choice", "pass", "top-1 agreement with the source at 91.2% of positions"),
        ("perplexity", "pass", "perplexity 12.00, 1.043 ± 0.005 times the source's"),
    ]


CLUSTERED = replace(GOOD, passages=23, errors_by="passage", error_factor=2.0739, p90_kld=0.1, correlation=None)


def test_the_message_says_which_differences_the_text_cannot_tell() -> None:
    assert judge(CLUSTERED)["mean-kld"].message == (
        "close: mean KLD 0.0512 ± 0.0021 nats, 99th percentile 0.412; "
        "differences below 0.0044 are inside the noise of this text"
    )
    few = replace(CLUSTERED, passages=4, errors_by="position")
    assert judge(few)["mean-kld"].message.endswith(
        "noise of this text (positions taken as independent: too few passages)"
    )
    assert "noise" not in judge(replace(CLUSTERED, mean_kld_error=0.0))["mean-kld"].message


def test_a_correlation_that_does_not_exist_is_no_broken_weight() -> None:
    assert judge(CLUSTERED)["finite"].status == "pass"


def test_a_store_with_too_little_room_is_told() -> None:
    finding = judge(GOOD, limited=True)["compared-with"]
    assert finding.status == "pass"
    assert finding.message.endswith(
        "over 1,020 positions; fewer positions than requested, because the store of logits is full"
    )


def test_another_variant_in_the_place_of_the_source_is_named() -> None:
    findings = judge(GOOD, against=WIDEST)
    message = (
        "compared with the variant 8bit (8.50 bits per weight), because the source does not fit this machine's memory"
    )
    assert (findings["compared-with"].status, findings["compared-with"].message) == ("warn", message)
    assert findings["compared-with"].remedy == "Measure it on a machine with more memory."
    assert {findings[check].status for check in NUMBERS} == {"pass"}


def test_what_was_not_measured_is_a_warning_and_no_number() -> None:
    findings = judge(None, against=WIDEST, not_measured=TOO_LARGE)
    assert (findings["compared-with"].status, findings["compared-with"].message) == (
        "warn",
        f"not measured, because {TOO_LARGE}",
    )
    assert findings["compared-with"].remedy == "Measure it on a machine with more memory."
    assert {findings[check].status for check in ("finite", *NUMBERS)} == {"skip"}
    assert verdict_of(findings.values()) == "pass"


@pytest.mark.parametrize(
    ("lost", "skipped"),
    [
        (["mean_kld", "mean_kld_error", "p99_kld", "max_kld"], {"mean-kld"}),
        (["same_first_choice"], {"same-first-choice"}),
        (["perplexity_ratio", "perplexity_ratio_error"], {"perplexity"}),
        # The ratio may be a number where both are beyond all bounds.
        (["perplexity", "perplexity_source"], {"perplexity"}),
        (["perplexity_source"], set()),
    ],
)
def test_what_is_no_number_is_refused_once(lost: list[str], skipped: set[str]) -> None:
    changed: dict[str, Any] = dict.fromkeys(lost)
    findings = judge(replace(GOOD, **changed))
    assert (findings["finite"].status, findings["finite"].message) == (
        "fail",
        f"not a number: {', '.join(sorted(lost))}",
    )
    assert findings["finite"].remedy == "The weights are broken; check the source."
    assert {check for check in NUMBERS if findings[check].status == "skip"} == skipped
    assert [finding.id for finding in findings.values() if finding.status == "fail"] == ["finite"]


def test_broken_numbers_cannot_be_accepted_and_lossy_ones_can() -> None:
    facts = FidelityFacts(replace(GOOD, mean_kld=2.0, max_kld=None), SOURCE, FidelityTest(), Variant())
    findings = {finding.id: finding.status for finding in run_checks(FIDELITY, facts, lambda _: "it is meant so")}
    assert (findings["finite"], findings["mean-kld"]) == ("fail", "warn")


@pytest.mark.parametrize(
    ("check", "changed", "message"),
    [
        (
            "mean-kld",
            {"mean_kld": 1.0001},
            "heavily lossy: mean KLD 1.0001 ± 0.0021 nats, 99th percentile 0.412; the limit is 1",
        ),
        ("same-first-choice", {"same_first_choice": 0.399}, "at 39.9% of positions; the limit is 40%"),
        (
            "perplexity",
            {"perplexity_ratio": 3.001},
            "perplexity 12.00, 3.001 ± 0.005 times the source's; the limit is 3",
        ),
    ],
)
def test_beyond_the_limit_it_is_refused_and_says_what_would_be_nearer(
    check: str, changed: dict[str, Any], message: str
) -> None:
    findings = judge(replace(GOOD, **changed), variant={"bits": 3})
    assert [finding.id for finding in findings.values() if finding.status == "fail"] == [check]
    assert findings[check].message.endswith(message)
    assert findings[check].remedy == better(Variant.model_validate({"bits": 3}))


@pytest.mark.parametrize(
    ("changed", "limits"),
    [
        ({"mean_kld": 1.0, "same_first_choice": 0.4, "perplexity_ratio": 3.0}, {}),
        (
            {"mean_kld": 5.0, "same_first_choice": 0.0, "perplexity_ratio": 20.0},
            {"max_mean_kld": 5, "min_same_first_choice": 0, "max_perplexity_ratio": 20},
        ),
        ({"perplexity_ratio": 0.5}, {}),
        ({"mean_kld_error": None, "perplexity_ratio_error": None}, {}),
    ],
)
def test_at_the_limit_it_is_not_refused(changed: dict[str, Any], limits: dict[str, Any]) -> None:
    findings = judge(replace(GOOD, **changed), limits)
    assert not {findings[check].status for check in NUMBERS} & {"fail", "skip"}


@pytest.mark.parametrize(
    ("mean", "status", "word"),
    [
        (0.0099, "pass", "near-identical"),
        (0.01, "pass", "very close"),
        (0.0512, "pass", "close"),
        (0.1499, "pass", "close"),
        (0.15, "warn", "lossy"),
        (0.4, "warn", "heavily lossy"),
        (1.0, "warn", "heavily lossy"),
    ],
)
def test_the_verdict_word_leads_and_lossy_is_a_warning(mean: float, status: str, word: str) -> None:
    finding = judge(replace(GOOD, mean_kld=mean), variant={"bits": 3})["mean-kld"]
    assert (finding.status, finding.message.partition(":")[0]) == (status, word)
    assert (finding.remedy == better(Variant.model_validate({"bits": 3}))) is (status == "warn")


MORE, SMALLER, MIXED = "more bits ({}bit)", "a smaller group (group_size: 32)", "a mixed recipe (mixed_3_6)"


@pytest.mark.parametrize(
    ("variant", "ways"),
    [
        ({}, [MORE.format(5), SMALLER]),
        ({"bits": 2}, [MORE.format(3), SMALLER, MIXED]),
        ({"bits": 3}, [MORE.format(4), SMALLER, MIXED]),
        ({"bits": 5}, [MORE.format(6), SMALLER]),
        ({"bits": 6}, [MORE.format(8), SMALLER]),
        ({"bits": 8}, ["an unquantized variant (bf16)", SMALLER]),
        ({"bits": 4, "group_size": 128}, [MORE.format(5), SMALLER]),
        ({"bits": 4, "group_size": 32}, [MORE.format(5)]),
        ({"bits": 2, "group_size": 32}, [MORE.format(3), MIXED]),
        ({"bits": 8, "group_size": 32}, ["an unquantized variant (bf16)"]),
        ({"mode": "mxfp4"}, [MORE.format(5)]),
        ({"mode": "nvfp4"}, [MORE.format(5)]),
        ({"mode": "mxfp8"}, ["an unquantized variant (bf16)"]),
    ],
)
def test_what_is_advised_to_a_quantized_variant(variant: dict[str, Any], ways: list[str]) -> None:
    assert better(Variant.model_validate(variant)) == f"Use {' or '.join(ways)}."


@pytest.mark.parametrize(
    ("mixed", "bits"),
    [
        ("mixed_2_6", "4bit or 5bit"),
        ("mixed_3_4", "4bit or 5bit"),
        ("mixed_3_6", "4bit or 5bit"),
        ("mixed_4_6", "5bit or 6bit"),
    ],
)
def test_a_mixed_recipe_is_advised_more_bits_than_its_fewest(mixed: str, bits: str) -> None:
    assert better(Variant.model_validate({"mixed": mixed})) == f"Use more bits: {bits}."


@pytest.mark.parametrize(
    ("dtype", "other"), [("bfloat16", "float32"), ("float16", "bfloat16"), ("float32", "bfloat16")]
)
def test_an_unquantized_variant_is_advised_another_type(dtype: str, other: str) -> None:
    assert (
        better(Variant.model_validate({"dtype": dtype})) == f"Use another dtype, such as {other}, or check the source."
    )
