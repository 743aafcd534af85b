"""The table at the end of a run."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.commands._table import print_table
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Finding, Report, Verdict
from mlx_publish.evidence.results import Exchange, HeldBack, PublishedFolder, PublishedRepo, Smoke
from mlx_publish.recipes.recipe import Variant
from mlx_publish.work import Work
from samples import make_evidence

FULL = make_evidence()
MEASURED: dict[str, Any] = FULL["benchmark"] | {"not_measured": None}
CONVERTED = FULL["model"] | {"bytes": 75_800_000, "dtypes": ["BF16", "U32"]}
COMPARED = FULL["fidelity"] | {"source_computed_in": "as stored"}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setenv("COLUMNS", "100")
    return Work(tmp_path, "tiny")


def add(work: Work, stage: str, result: Any, verdict: Verdict = "pass") -> None:
    work.write_report("4bit", Report(stage, {}, (Finding("so", "pass", "so"),), result, verdict))


def table(work: Work) -> str:
    out = io.StringIO()
    print_table(out, [Variant()], work)
    return out.getvalue()


def cells(work: Work) -> list[str]:
    """Of the one row."""
    return re.split(r"\s{2,}", table(work).splitlines()[3].strip())


def answered(answer: str) -> dict[str, Any]:
    """What smoke reports of an answer."""
    exchange = Exchange([], "", 9, answer, [5, 2], "stop", 2, [])
    smoke = Smoke(True, None, "native", {}, "as stored", [2], 32_000, exchange, {}, {}, {})
    plain: dict[str, Any] = to_json(smoke)
    return plain


def test_a_row_has_what_was_measured(work: Work) -> None:
    add(work, "convert", CONVERTED)
    add(work, "smoke", answered("A satellite\nof the Earth."))
    add(work, "fidelity", COMPARED)
    add(work, "benchmark", MEASURED | {"device": "cpu"})
    # Of the lengths that were measured, that of 512 tokens.
    assert cells(work) == ["4bit", "75.7 MB", "4.50", "0.0451", "96.2 (CPU)", "A satellite of the Earth."]


def test_a_variant_without_numbers_says_why(work: Work) -> None:
    add(work, "convert", CONVERTED)
    assert "no speed" not in table(work)
    refusal = (Finding("stops", "fail", "it never stops", "Look."),)
    work.write_report("4bit", Report("smoke", {}, refusal, {}, "refused"))
    assert "4bit: no mean KLD and no speed: refused in smoke by stops" in table(work)


def test_a_gpu_is_what_people_expect(work: Work) -> None:
    add(work, "benchmark", MEASURED)
    assert cells(work) == ["4bit", "-", "-", "-", "96.2", "-"]


@pytest.mark.parametrize(
    ("stage", "result"),
    [
        ("benchmark", MEASURED | {"not_measured": "measured, too unsteady to publish (±12 %): drift: it fell"}),
        ("fidelity", {"not_measured": "the source is too large for this machine", "against": {"what": "variant"}}),
    ],
)
def test_what_is_not_printed_is_a_dash(work: Work, stage: str, result: dict[str, Any]) -> None:
    add(work, stage, result)
    assert cells(work) == ["4bit", "-", "-", "-", "-", "-"]


def test_a_speed_that_was_measured_and_withheld_says_so(work: Work) -> None:
    why = "measured, too unsteady to publish (±12 %): drift: it fell by 17% from 21.1 to 17.5 generation tokens/s"
    add(work, "benchmark", MEASURED | {"not_measured": why})
    assert "4bit: speed: measured, too unsteady to publish (±12 %)\n" in table(work)


def test_what_was_not_measured_or_refused_is_a_dash(work: Work) -> None:
    add(work, "fidelity", COMPARED, "refused")
    add(work, "benchmark", MEASURED, "error")
    assert cells(work) == ["4bit", "-", "-", "-", "-", "-"]


def test_card_and_place_are_named(work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    work.model("4bit").mkdir(parents=True)
    (work.model("4bit") / "README.md").touch()
    repo = PublishedRepo(
        True, 3, 9, "acme/Tiny-4bit", "c" * 40, "v1", ["a"], [], private=False, pull_request="", read_back=0
    )
    add(work, "upload", to_json(repo))
    assert table(work).splitlines()[-2:] == [
        "  card of 4bit: tiny/4bit/model/README.md",
        "  published:    acme/Tiny-4bit at v1",
    ]
    add(work, "upload", to_json(PublishedFolder(True, 3, 9, str(tmp_path / "out"))))
    assert table(work).splitlines()[-1] == "  published:    out"


def test_what_was_held_back_with_another_variant_is_not_called_published(work: Work) -> None:
    """It passed the last look, and another one of the recipe did not."""
    add(work, "upload", to_json(HeldBack()))
    assert "published" not in table(work)


@pytest.mark.parametrize(
    "answer",
    [
        "[bold red]x[/] ::add-mask::x",
        "word " * 7 + "::stop-commands::x",
        "x" * 45 + " ::error::y",
        "##[add-path]/tmp",
        "\x1b[31mred",
        "::error::x",
    ],
)
def test_an_answer_commands_nothing(work: Work, answer: str) -> None:
    add(work, "smoke", answered(answer))
    text = table(work)
    assert [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line] == []
    assert "\x1b" not in text
    for word in ("[bold red]x[/]", "add-mask", "stop-commands"):
        assert (word in text) == (word in answer)
