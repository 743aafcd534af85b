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
from mlx_publish.evidence.results import Exchange, Smoke
from mlx_publish.recipes.recipe import Variant
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from samples import make_evidence
from samples_that_see import make_seeing

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


def table(work: Work, *variants: Variant) -> str:
    out = io.StringIO()
    print_table(Console(out), variants or [Variant()], work)
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
    add(work, "smoke", answered("A satellite\nof Earth."))
    add(work, "fidelity", COMPARED)
    add(work, "benchmark", MEASURED | {"device": "cpu"})
    # Of the lengths that were measured, that of 512 tokens.
    assert cells(work) == [
        "4bit", "passed", "75.7 MB", "4.50", "very close", "0.0451", "96.2 (CPU)", "A satellite of Earth."
    ]  # fmt: skip


def test_of_a_model_that_sees_the_number_with_pictures_has_a_column(work: Work) -> None:
    add(work, "convert", CONVERTED)
    add(work, "fidelity", COMPARED | {"pictures": make_seeing()["fidelity"]["pictures"]})
    assert cells(work)[5:7] == ["0.0451", "0.0612"]
    assert "with pictures" in table(work)


def test_a_gpu_is_what_people_expect(work: Work) -> None:
    add(work, "benchmark", MEASURED)
    assert cells(work) == ["4bit", "passed", "-", "-", "-", "-", "96.2", "-"]


def test_an_nvidia_gpu_is_marked(work: Work) -> None:
    add(work, "benchmark", MEASURED | {"backend": "cuda", "gpu": "NVIDIA H100 80GB HBM3"})
    assert cells(work)[6] == "96.2 (CUDA)"


@pytest.mark.parametrize(
    ("stage", "result"),
    [
        ("benchmark", MEASURED | {"not_measured": "drift: it fell by 17% from 21.1 to 17.5 generation tokens/s"}),
        ("fidelity", {"not_measured": "the source is too large for this machine", "against": {"what": "variant"}}),
    ],
)
def test_what_is_not_printed_is_a_dash(work: Work, stage: str, result: dict[str, Any]) -> None:
    add(work, stage, result)
    assert cells(work) == ["4bit", "passed", "-", "-", "-", "-", "-", "-"]


def test_a_refused_variant_shows_the_number_that_refused_it_and_nothing_of_later_stages(work: Work) -> None:
    add(work, "fidelity", COMPARED | {"mean_kld": 1.3}, "refused")
    add(work, "benchmark", MEASURED)
    assert cells(work) == ["4bit", "refused in fidelity", "-", "-", "heavily lossy", "1.30", "-", "-"]


def test_a_stage_that_broke_is_named(work: Work) -> None:
    add(work, "benchmark", MEASURED, "error")
    assert cells(work)[:2] == ["4bit", "broke in benchmark"]


WIDE = ("variant", "verdict", "size", "bits/weight", "closeness", "mean KLD", "tokens/s", "answer")


@pytest.mark.parametrize("columns", [40, 44, 50, 56, 60, 66, 70, 78, 84, 92, 100])
def test_columns_go_before_a_number_is_cut(work: Work, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    add(work, "convert", CONVERTED)
    add(work, "smoke", answered("A satellite of the Earth, and the only one that it has, as far as anybody knows."))
    add(work, "fidelity", COMPARED | {"mean_kld": 0.451}, "pass")
    add(work, "benchmark", MEASURED | {"device": "cpu"})
    lines = table(work).splitlines()
    shown = re.split(r"\s{2,}", lines[1].strip())
    whole = ("4bit", "passed", "75.7 MB", "4.50", "heavily lossy", "0.451", "96.2 (CPU)")
    expected = [cell for title, cell in zip(WIDE, whole, strict=False) if title in shown]
    assert cells(work)[: len(expected)] == expected
    assert max(map(len, lines)) <= columns
    order = ["answer", "bits/weight", "tokens/s", "size", "mean KLD", "closeness"]
    gone = [title for title in order if title not in shown]
    assert gone == order[: len(gone)]
    assert {"variant", "verdict"} <= set(shown)
    assert len(lines) == 5  # no cell is folded


@pytest.mark.parametrize(
    "answer",
    [
        "[bold red]x[/] ::add-mask",
        "w ::stop-commands::x",
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
