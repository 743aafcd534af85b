"""The end of a run: a verdict, what was made and where, and what to type next."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.commands._arguments import RECIPE_FLAGS
from mlx_publish.commands._ending import Ending, cause_in_short
from mlx_publish.evidence.quantization import Gain
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Finding, Report, Verdict
from mlx_publish.evidence.results import HeldBack, PublishedFolder, PublishedRepo
from mlx_publish.evidence.rounding import gain_in_words
from mlx_publish.evidence.stages import NAMES
from mlx_publish.text.console import Console, Level
from mlx_publish.work import Work
from samples import make_evidence
from samples_of_plans import GAIN

FINE = Finding("so", "pass", "so")
FAR = Finding("mean-kld", "fail", "far; away", "Take more bits.", {"short": "mean KLD 1.3 over the limit 1"})
REPO = PublishedRepo(
    True, 3, 9, "acme/Tiny-4bit", "c" * 40, "v1", ["a"], [], private=False, pull_request="", read_back=0
)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.chdir(tmp_path)
    return Work(tmp_path / "work", "tiny")


def add(work: Work, label: str, stage: str, *checks: Finding, result: Any = None, verdict: Verdict = "pass") -> None:
    work.write_report(label, Report(stage, {}, checks or (FINE,), to_json(result) if result else {}, verdict))


def ended(
    work: Work, /, *refused: str, labels: str = "4bit", until: str = "card", level: Level = Level.NORMAL, **given: Any
) -> list[str]:
    """Return the lines at the end of a run with these flags."""
    flags = {
        **dict.fromkeys(RECIPE_FLAGS),
        "recipe": None,
        "variant": None,
        "into": None,
        "work": Path("work"),
        **given,
    }
    out, stages = io.StringIO(), NAMES[: NAMES.index(until) + 1]
    Ending(argparse.Namespace(**flags), labels.split(), stages, refused, work).show(Console(out, level=level))
    return out.getvalue().splitlines()


def test_a_good_run_names_cards_and_the_command_that_publishes(work: Work) -> None:
    add(work, "4bit", "card")
    work.model("4bit").mkdir(parents=True)
    (work.model("4bit") / "README.md").touch()
    assert ended(work, recipe=Path("recipes/my x.yaml")) == [
        "4bit passed",
        "  4bit: card work/tiny/4bit/model/README.md",
        "Next: mlx-publish upload --recipe 'recipes/my x.yaml'",
    ]


def test_flags_variants_and_work_folder_stay_in_the_next_command(work: Work) -> None:
    lines = ended(
        work, labels="4bit 8bit", until="convert", source="a/b", bits="4", work=Path("w"), variant=["4bit", "8bit"]
    )
    assert lines[0] == "all 2 variants passed"
    assert lines[-1] == "Next: mlx-publish run --source a/b --bits 4 --variant 4bit,8bit --work w"


def test_cards_to_be_reviewed_are_reviewed_next(work: Work) -> None:
    lines = ended(work, recipe=Path("r.yaml"), into=Path("cards"))
    assert lines[-1] == "Next: mlx-publish review --recipe r.yaml --cards cards"


def test_refused_variants_are_counted_named_and_told_what_helps(work: Work) -> None:
    for label in ("4bit", "3bit"):
        add(work, label, "card")
    for label in ("mxfp4", "2bit"):
        add(work, label, "convert")
        add(work, label, "fidelity", FINE, FAR, verdict="refused")
    add(work, "2bit", "card")  # of an earlier run
    lines = ended(work, "mxfp4", "2bit", labels="4bit 3bit mxfp4 2bit", recipe=Path("r.yaml"))
    assert lines == [
        "2 of 4 refused: mxfp4 (mean KLD 1.3 over the limit 1), 2bit (mean KLD 1.3 over the limit 1)",
        "  mxfp4: reports work/tiny/mxfp4",
        "  2bit: reports work/tiny/2bit",
        "Next for mxfp4, 2bit: Take more bits.",
    ]


def test_one_refused_variant_alone_is_the_verdict(work: Work) -> None:
    add(work, "4bit", "smoke", Finding("stops", "fail", "it never stops", "Look."), verdict="refused")
    lines = ended(work, "4bit")
    assert lines[0] == "refused: 4bit (it never stops)"
    assert lines[1] == "  4bit: no mean KLD and no speed: refused in smoke by stops"


def test_a_variant_that_passed_and_is_lossy_is_named_in_the_verdict(work: Work) -> None:
    for label, mean in (("4bit", 0.689), ("8bit", 0.004)):
        measured = make_evidence()["fidelity"] | {"source_computed_in": "as stored", "mean_kld": mean}
        work.write_report(label, Report("fidelity", {}, (FINE,), measured, "pass"))
    assert ended(work, labels="4bit 8bit")[0] == "all 2 variants passed; 4bit is heavily lossy (mean KLD 0.689)"


def test_a_planned_variant_says_what_it_gains(work: Work) -> None:
    for label, gain in (("4.5bpw", GAIN), ("3bpw", {**GAIN, "difference": 0.001})):
        measured = make_evidence()["fidelity"] | {"source_computed_in": "as stored", "gain": gain}
        work.write_report(label, Report("fidelity", {}, (FINE,), measured, "pass"))
    lines = ended(work, labels="4.5bpw 3bpw")
    assert "  4.5bpw: 51 % less KLD than plain rounding at equal bytes" in lines
    assert "  3bpw: 2 % more KLD than plain rounding at equal bytes" in lines


def test_what_was_published_has_an_address_and_a_command_that_verifies_it(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(work, "4bit", "upload", result=REPO)
    assert ended(work, until="upload") == [
        "4bit published",
        "  4bit: published https://huggingface.co/acme/Tiny-4bit at v1",
        "Next: mlx-publish verify acme/Tiny-4bit@v1",
    ]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    assert "  4bit: published http://127.0.0.1:9/acme/Tiny-4bit at v1" in ended(work, until="upload")
    add(work, "4bit", "upload", result=PublishedFolder(True, 3, 9, str(tmp_path / "my out")))
    assert ended(work, until="upload")[1:] == ["  4bit: published my out", "Next: mlx-publish verify 'my out'"]


def test_what_was_held_back_with_another_variant_is_not_called_published(work: Work) -> None:
    add(work, "4bit", "upload", result=HeldBack())
    assert ended(work, until="upload") == ["4bit passed"]


def test_a_speed_that_is_not_printed_says_why(work: Work) -> None:
    why = "measured, too unsteady to publish (±21 %): drift: it fell by 17% from 21.1 to 17.5 generation tokens/s"
    work.write_report("4bit", Report("benchmark", {}, (FINE,), {"not_measured": why}, "pass"))
    assert "  4bit: speed: measured, too unsteady to publish (±21 %)" in ended(work)


def test_quiet_leaves_the_verdict_alone(work: Work) -> None:
    add(work, "4bit", "smoke", Finding("stops", "fail", "it never stops", "Look."), verdict="refused")
    assert ended(work, "4bit", level=Level.QUIET) == ["refused: 4bit (it never stops)"]


@pytest.mark.parametrize(
    ("message", "short"),
    [
        ("it never stops", "it never stops"),
        ("zero all over: a; accept it", "zero all over: a"),
        ("word " * 20, "word " * 11 + "word…"),
        ("x\x1b[31m::error::", "x\N{REPLACEMENT CHARACTER}[31m::error::"),
        ("a\nb", "a\\nb"),
    ],
)
def test_a_long_cause_is_cut_between_words_and_commands_nothing(message: str, short: str) -> None:
    assert cause_in_short(Finding("x", "fail", message)) == short


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (-0.051, "51 % less"),
        (-0.0004, "0.4 % less"),
        (-1e-9, "under 0.1 % less"),
        (0.0, "no less"),
        (1e-9, "under 0.1 % more"),
    ],
)
def test_a_gain_is_never_written_as_none(difference: float, words: str) -> None:
    gain = Gain(0.1 + difference, 0.1, difference, 0.001, 0.9, 0.9, ())
    assert gain_in_words(gain) == f"{words} KLD than plain rounding at equal bytes"
