"""What is said of the comparison behind pictures: a model that does not look as its source does is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.pictured import PICTURED, PicturedFacts
from mlx_publish.evidence.measured import Divergence, SourceRead
from mlx_publish.evidence.pictured import Effect, PictureDivergence, PicturesRead
from mlx_publish.evidence.report import Finding, verdict_of
from mlx_publish.recipes.recipe import FidelityTest, Variant

ALIKE = Effect(source=0.122, model=0.121, share=0.997, correlation=0.9995)
SEEN = PictureDivergence(
    pictures=7,
    image_tokens=217,
    positions=810,
    mean_kld=0.0012,
    mean_kld_error=0.0001,
    median_kld=0.001,
    p99_kld=0.01,
    max_kld=0.02,
    same_first_choice=0.957,
    errors_by="passage",
    error_factor=2.47,
    effect=ALIKE,
)
TEXT = Divergence(
    positions=2008,
    mean_kld=0.0010,
    mean_kld_error=0.0001,
    median_kld=0.001,
    p99_kld=0.01,
    max_kld=0.02,
    same_first_choice=0.95,
    same_first_choice_error=0.01,
    perplexity_source=11.5,
    perplexity=11.5,
    perplexity_ratio=1.0,
    perplexity_ratio_error=0.001,
    pictures=SEEN,
)
WHOLE = {"dtype": "bfloat16"}


def judge(
    divergence: Divergence | None,
    variant: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    source: SourceRead | None = None,
    not_measured: str = "",
) -> dict[str, Finding]:
    asked, of = FidelityTest.model_validate(limits or {}), Variant.model_validate(variant or {"bits": 8})
    facts = PicturedFacts(divergence, source, asked, of, not_measured)
    return {finding.id: finding for finding in run_checks(PICTURED, facts)}


def behind(text_kld: float = 0.001, **changed: Any) -> Divergence:
    return replace(TEXT, mean_kld=text_kld, pictures=replace(SEEN, **changed))


def moved(correlation: float | None, text_kld: float = 0.001, **changed: Any) -> Divergence:
    return behind(text_kld, effect=replace(ALIKE, correlation=correlation, **changed))


def test_a_good_result_passes_every_check() -> None:
    assert [(finding.id, finding.status, finding.message) for finding in judge(TEXT).values()] == [
        (
            "pictures-compared",
            "pass",
            "compared over 810 positions behind 7 pictures, 217 image tokens",
        ),
        ("pictures-finite", "pass", "all numbers are finite over 810 positions behind pictures"),
        (
            "pictures-kld",
            "pass",
            "near-identical behind pictures: mean KLD 0.0012 ± 0.0001 nats; on text alone 0.0010",
        ),
        ("pictures-first-choice", "pass", "top-1 agreement with the source at 95.7% of positions behind pictures"),
        (
            "pictures-effect",
            "pass",
            "another picture changes its next token by 0.121 nats, the source's by 0.122, with a correlation of 1.000",
        ),
    ]


@pytest.mark.parametrize("variant", [{"bits": 8}, {"bits": 2}, WHOLE])
def test_a_result_that_ignores_its_pictures_is_refused(variant: dict[str, Any]) -> None:
    judged = judge(moved(0.0, model=0.0, share=0.0), variant)["pictures-effect"]
    assert judged.status == "fail"
    assert "it ignores its pictures" in judged.message
    assert "projector" in judged.remedy


def test_a_result_that_looks_with_other_weights_is_refused_however_it_is_quantized() -> None:
    # A tower of random numbers moves the result, too; its changes are others.
    for text_kld, correlation in ((0.0, 0.04), (0.06, -0.27), (0.3, 0.1)):
        assert judge(moved(correlation, text_kld, share=0.1), {"bits": 4})["pictures-effect"].status == "fail"


# Measured of toys of twelve families: their text's mean KLD, the effect, and the correlation that rounding leaves.
ROUNDED = [
    (3e-4, 0.237, 0.9997),
    (4e-3, 0.237, 0.9956),
    (0.06, 0.237, 0.9368),
    (0.21, 0.237, 0.7866),
    (0.083, 0.037, 0.82),
    (0.397, 0.037, 0.4544),
    (0.045, 0.0186, 0.8926),
]


@pytest.mark.parametrize(("text_kld", "effect", "correlation"), ROUNDED)
def test_what_rounding_takes_from_the_effect_of_a_picture_is_no_fault(
    text_kld: float, effect: float, correlation: float
) -> None:
    divergence = moved(correlation, text_kld, source=effect, model=effect)
    assert judge(divergence, {"bits": 4})["pictures-effect"].status == "pass"


def test_more_than_rounding_explains_is_told_and_refused_of_weights_that_are_not_quantized() -> None:
    # As where the embeddings of a tower's positions are gone.
    assert judge(moved(0.87), {"bits": 8})["pictures-effect"].status == "warn"
    assert judge(moved(0.87, 1e-7), WHOLE)["pictures-effect"].status == "fail"
    assert judge(moved(0.999, 1e-7), WHOLE)["pictures-effect"].status == "pass"


def test_where_rounding_hides_the_effect_of_a_picture_nothing_is_refused_for_it() -> None:
    assert judge(moved(0.3, 0.6, source=0.237), {"bits": 2})["pictures-effect"].status == "warn"


def test_a_source_that_does_not_look_cannot_be_compared() -> None:
    judged = judge(moved(None, source=0.0, model=0.0, share=None))["pictures-effect"]
    assert (judged.status, judged.message[:37]) == ("warn", "another picture changes nothing in th")


def test_a_model_that_is_much_worse_behind_pictures_is_told_in_words() -> None:
    judged = judge(behind(0.002, mean_kld=0.02))["pictures-kld"]
    assert judged.status == "warn"
    assert "10.0 times as far from the source as on text" in judged.message
    assert judge(behind(0.0, mean_kld=0.0008))["pictures-kld"].status == "pass", "too little to tell"
    assert judge(behind(0.002, mean_kld=0.02, mean_kld_error=0.01))["pictures-kld"].status == "pass", "noise"


def test_a_model_that_is_not_quantized_is_as_close_behind_pictures_as_on_text() -> None:
    assert judge(behind(1e-7, mean_kld=0.3), WHOLE)["pictures-kld"].status == "fail"
    assert judge(behind(1e-7, mean_kld=1e-7), WHOLE)["pictures-kld"].status == "pass"


def test_the_limits_of_the_recipe_hold_behind_pictures_too() -> None:
    judged = judge(behind(0.5, mean_kld=1.2, same_first_choice=0.3))
    assert [judged[check].status for check in ("pictures-kld", "pictures-first-choice")] == ["fail", "fail"]
    judged = judge(
        behind(0.5, mean_kld=1.2, same_first_choice=0.3), None, {"max_mean_kld": 2, "min_same_first_choice": 0.2}
    )
    assert [judged[check].status for check in ("pictures-kld", "pictures-first-choice")] == ["warn", "pass"]


def test_what_is_no_number_behind_pictures_is_refused_and_nobody_can_accept_it() -> None:
    judged = judge(behind(mean_kld=None, p99_kld=None))
    assert judged["pictures-finite"].message == "behind pictures not a number: mean_kld, p99_kld"
    assert judged["pictures-finite"].status == "fail"
    assert next(check for check in PICTURED if check.id == "pictures-finite").safety


def test_a_result_that_fails_on_pictures_of_its_source_is_refused() -> None:
    judged = judge(replace(TEXT, pictures=None, pictures_fault="ValueError: no tower"))
    assert judged["pictures-compared"].status == "fail"
    assert "ValueError: no tower" in judged["pictures-compared"].message
    assert {finding.status for name, finding in judged.items() if name != "pictures-compared"} == {"skip"}


def test_a_source_whose_processor_fails_is_told_and_not_refused() -> None:
    source = SourceRead(2008, "", False, "float32", PicturesRead(0, "OSError: no preprocessor_config.json"))
    judged = judge(replace(TEXT, pictures=None), source=source)
    assert verdict_of(tuple(judged.values())) == "pass"
    assert "OSError: no preprocessor_config.json" in judged["pictures-compared"].message


def test_the_widest_variant_of_a_large_source_is_not_judged() -> None:
    judged = judge(None, not_measured="the source is too large for this machine")
    assert {finding.status for finding in judged.values()} == {"skip"}
