"""Variants that were planned or learned are published only where they beat plain rounding at equal bytes."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import once
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.earned import EARNED, EarnedFacts
from mlx_publish.checks.listed import wrong_list
from mlx_publish.context import Context, Outcome
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.quantization import Gain
from mlx_publish.evidence.report import Finding
from mlx_publish.evidence.results import Fidelity, NotCompared
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source import gains
from mlx_publish.stages import fidelity_stage
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import make_model
from pipeline import User, read_json, write_recipe
from samples import list_of_checks, make_evidence
from samples_of_plans import make_planned

ANYTHING = {"max_mean_kld": 100, "min_same_first_choice": 0, "max_perplexity_ratio": 1000}
STAND_INS = ("mxfp4", "mixed_3_6")
"""Forms that no recipe calls planned; here they stand for such as are."""


@pytest.fixture
def made(shared: Path, tmp_path: Path) -> Path:
    """A folder with a recipe and what was converted of it."""

    def make(root: Path) -> None:
        make_model(root / "m", hidden=128)
        variants = ["3bit", "4bit", "5bit", "8bit", *STAND_INS]
        write_recipe(root / "m.yaml", source="./m", variants=variants, fidelity={"tokens": 400, **ANYTHING})
        User(root / "home").run("convert", "--recipe", root / "m.yaml", "--work", root / "work")

    shutil.copytree(once(shared / "earns", make), tmp_path / "earns")
    return tmp_path / "earns"


@pytest.fixture(autouse=True)
def _learned(monkeypatch: pytest.MonkeyPatch) -> None:
    def learns(variant: Variant) -> bool:
        return variant.label in STAND_INS

    monkeypatch.setattr(gains, "learns", learns)
    monkeypatch.setattr(fidelity_stage, "learns", learns)


def context_of(root: Path) -> Context:
    recipe = recipe_from_file(root / "m.yaml")
    return Context(recipe, recipe.variants, Work(root / "work", recipe.name), Console(io.StringIO()))


def compared(root: Path, *labels: str) -> Mapping[str, Outcome]:
    """Run the stage alone on some variants."""
    context = context_of(root)
    with context.children:
        return fidelity_stage.run(context, [v for v in context.recipe.variants if v.label in labels])


def said(outcome: Outcome, check: str = "earns-bytes") -> Finding | None:
    return next((finding for finding in outcome.checks if finding.id == check), None)


def gain_in(outcome: Outcome) -> Gain:
    assert isinstance(outcome.result, Fidelity)
    assert outcome.result.gain is not None
    return outcome.result.gain


def test_widths_that_lack_are_measured_and_stay_for_the_next_variant(made: Path) -> None:
    first = compared(made, "mxfp4")["mxfp4"]
    gain, log = gain_in(first), made / "work/m/source/rounding.log"
    assert [point.label for point in gain.curve] == ["3bit", "4bit"]
    assert gain.curve[1].mean_kld < gain.rounding_kld < gain.curve[0].mean_kld
    finding = said(first)
    assert finding is not None
    assert (finding.status == "fail") == (gain.difference >= 0)
    assert "at equal bytes (between 3bit and 4bit)" in finding.message
    log.unlink()
    assert gain_in(compared(made, "mxfp4")["mxfp4"]) == gain
    assert not log.exists()
    values = made / "work/m/source/rounding/as-stored/4bit.npz"
    values.write_bytes(values.read_bytes()[:-1])
    assert gain_in(compared(made, "mxfp4")["mxfp4"]) == gain
    assert log.exists()


def test_plain_variants_of_the_recipe_are_points_and_have_no_such_check(made: Path) -> None:
    alone = gain_in(compared(made, "mxfp4")["mxfp4"])
    shutil.rmtree(made / "work/m/source/rounding")
    outcomes = compared(made, "3bit", "4bit", "8bit", *STAND_INS)
    assert [said(outcomes[label]) for label in ("3bit", "4bit", "8bit")] == [None, None, None]
    together = gain_in(outcomes["mxfp4"])
    assert together.difference == pytest.approx(alone.difference, rel=1e-4)
    assert [point.label for point in together.curve] == ["3bit", "4bit", "8bit"]
    assert gain_in(outcomes["mixed_3_6"]).curve == together.curve


def test_a_recipe_of_plain_variants_alone_measures_nothing_more(made: Path) -> None:
    compared(made, "4bit", "8bit")
    assert not (made / "work/m/source/rounding").exists()
    assert not list(made.rglob("*.npz"))


def memory(root: Path) -> str:
    """Memory for the variants and not for the source."""
    return str(3 * (root / "m/model.safetensors").stat().st_size)


def test_where_the_source_does_not_fit_plain_variants_of_the_recipe_stand_for_the_curve(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_PUBLISH_MEMORY_BYTES", memory(made))
    outcomes = compared(made, *STAND_INS)
    gain = gain_in(outcomes["mxfp4"])
    assert [point.label for point in gain.curve] == ["3bit", "4bit"]
    assert not (made / "work/m/source/rounding.log").exists()
    recipe = read_json(made / "m.yaml")
    (made / "m.yaml").write_text(json.dumps({**recipe, "variants": ["4bit", "8bit", *STAND_INS]}))
    finding = said(compared(made, "mxfp4")["mxfp4"], "gain-measured")
    assert finding is not None
    assert finding.status == "fail"
    assert "no plain variants of the recipe surround it" in finding.message
    assert "accept the check with a reason" in finding.remedy


def test_the_widest_variant_that_stands_for_the_source_is_not_published_unproven(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_PUBLISH_MEMORY_BYTES", memory(made))
    recipe = read_json(made / "m.yaml")
    (made / "m.yaml").write_text(json.dumps({**recipe, "variants": ["3bit", "mixed_3_6"]}))
    outcome = compared(made, "mixed_3_6")["mixed_3_6"]
    assert isinstance(outcome.result, NotCompared)
    finding = said(outcome, "gain-measured")
    assert finding is not None
    assert finding.status == "fail"
    accepted = {"accept": [{"check": "gain-measured", "reason": "For a course"}]}
    (made / "m.yaml").write_text(json.dumps({**recipe, "variants": ["3bit", "mixed_3_6"], **accepted}))
    finding = said(compared(made, "mixed_3_6")["mixed_3_6"], "gain-measured")
    assert finding is not None
    assert (finding.status, finding.details["accepted"]) == ("warn", "For a course")


def gain(difference: float, error: float, *, rounding: float = 0.35, factor: float | None = 2.0) -> Gain:
    """A variant that is so much nearer to its source than plain rounding, or further from it."""
    return Gain(rounding + difference, rounding, difference, error, 0.71, 0.68, (), factor)


def finding_of(facts: EarnedFacts, reason: str | None = None, check: str = "earns-bytes") -> Finding:
    return next(finding for finding in run_checks(EARNED, facts, lambda _: reason) if finding.id == check)


BETWEEN = ("3bit", "4bit")


@pytest.mark.parametrize("difference", [0.06, 0.0])
def test_what_is_not_better_is_refused_with_both_numbers(difference: float) -> None:
    finding = finding_of(EarnedFacts(gain(difference, 0.0001), BETWEEN))
    assert finding.status == "fail"
    assert finding.message == (
        f"mean KLD {0.35 + difference:.3f} where plain rounding has 0.350 at equal bytes (between 3bit and 4bit): it is "
        "not better; top-1 agreement 71.0 %, plain rounding 68.0 %"
    )
    assert finding.remedy == "Publish 3bit or 4bit instead, or give the method other settings."
    assert finding_of(EarnedFacts(gain(difference, 0.0001), BETWEEN), "For a course").status == "fail"


def test_a_gain_inside_the_noise_of_the_text_is_a_warning_and_one_outside_passes() -> None:
    inside, outside = (finding_of(EarnedFacts(gain(-0.10, error), BETWEEN)) for error in (0.051, 0.04))
    assert (inside.status, outside.status) == ("warn", "pass")
    assert "better by 0.10 ± 0.10, which is inside the noise of this text" in inside.message
    assert outside.message == (
        "mean KLD 0.250 where plain rounding has 0.350 at equal bytes (between 3bit and 4bit): 29 % less (by 0.10 ± "
        "0.080); top-1 agreement 71.0 %, plain rounding 68.0 %"
    )
    assert finding_of(EarnedFacts(gain(-0.10, 0.0511, factor=None), BETWEEN)).status == "warn"


def test_the_message_says_what_equal_bytes_are_taken_from() -> None:
    better = gain(-0.1, 0.0)
    assert "at equal bytes (4bit)" in finding_of(EarnedFacts(better, ["4bit"])).message
    wide = finding_of(EarnedFacts(better, ["8bit"], "wider")).message
    assert "where plain rounding has 0.350 at 8bit, which has fewer bytes and nothing wider" in wide
    narrow = finding_of(EarnedFacts(better, ["2bit"], "narrower")).message
    assert "where plain rounding has 0.350 at 2bit, which has more bytes and nothing narrower" in narrow


def test_numbers_that_are_none_are_told_apart() -> None:
    assert finding_of(EarnedFacts(None, broken=True), check="gain-measured").status == "skip"
    unknown = EarnedFacts(None, BETWEEN, reason="plain rounding at 2bit gives no numbers")
    assert finding_of(unknown).status == "skip"
    plain = finding_of(unknown, check="gain-measured")
    assert finding_of(unknown, "For a course", "gain-measured").status == "warn"
    assert plain.status == "fail"
    assert plain.message.endswith("at equal bytes: plain rounding at 2bit gives no numbers")


def test_evidence_of_a_planned_variant_lacks_something_without_the_check() -> None:
    others = [check for check in list_of_checks() if check["id"] != "earns-bytes"]
    planned, plain = (Evidence.of(make(checks=others)) for make in (make_planned, make_evidence))
    assert "lacks checks of fidelity: earns-bytes" in [fault.message for fault in wrong_list(planned)]
    assert not list(wrong_list(plain))
    assert not list(wrong_list(Evidence.of(make_planned(checks=list_of_checks()))))
