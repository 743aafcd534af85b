"""What a run leaves for the jobs after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from mlx_publish.errors import NOWHERE, Place
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Finding, Report, Verdict
from mlx_publish.evidence.results import PublishedRepo
from mlx_publish.github import outcome
from mlx_publish.github.runner import Runner
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.work import Work
from samples import make_recipe

STAGES = ("inspect", "convert", "card", "upload")
HOSTILE = "<img src=x> | `a` [x](y) **b**\n::error::z \x1b[31m #1 @all"


@dataclass(frozen=True)
class Job(Runner):
    """Keeps what a job would be given."""

    outputs: dict[str, str] = field(default_factory=dict)
    annotations: list[tuple[str, str]] = field(default_factory=list)
    summaries: list[str] = field(default_factory=list)

    def write(self, values: Mapping[str, str]) -> None:
        self.outputs.update(values)

    def annotate(self, message: str, place: Place = NOWHERE) -> None:
        self.annotations.append((message, str(place)))

    def summarize(self, markdown: str) -> None:
        self.summaries.append(markdown)


@pytest.fixture
def runner() -> Job:
    return Job()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path, "tiny")


@pytest.fixture
def recipe() -> Recipe:
    plain = make_recipe(variants=["4bit", "8bit"])
    return Recipe(plain.spec, "tiny", None, plain.destinations, "recipes/tiny.yaml", {"source": 3})


def add(
    work: Work,
    label: str,
    stage: str,
    *,
    verdict: Verdict = "pass",
    checks: tuple[Finding, ...] = (),
    result: Mapping[str, Any] | None = None,
) -> None:
    work.write_report(label, Report(stage, {}, checks or (Finding("so", "pass", "so"),), result or {}, verdict))


def published(repo: str, commit: str, tag: str, pull_request: str = "") -> dict[str, Any]:
    """What upload reports of two files on the Hub."""
    receipt = PublishedRepo(True, 2, 9, repo, commit, tag, ["a", "b"], [], False, pull_request, 0)
    plain: dict[str, Any] = to_json(receipt)
    return plain


def test_a_published_recipe(runner: Job, work: Work, recipe: Recipe) -> None:
    for label in ("4bit", "8bit"):
        add(work, label, "convert")
        add(work, label, "card")
        add(work, label, "upload", result=published(f"acme/Tiny-{label}", f"c{label}", "v1"))
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    assert runner.outputs == {
        "verdict": "pass",
        "card": f"{work.model('4bit')}/README.md\n{work.model('8bit')}/README.md",
        "evidence": f"{work.variant('4bit')}/evidence.json\n{work.variant('8bit')}/evidence.json",
        "provenance": f"{work.provenance('4bit')}\n{work.provenance('8bit')}",
        "repo": "acme/Tiny-4bit\nacme/Tiny-8bit",
        "commit": "c4bit\nc8bit",
    }
    assert runner.annotations == []


def test_the_receipt_and_the_cards_stand_in_the_summary(runner: Job, work: Work, recipe: Recipe) -> None:
    for label in ("4bit", "8bit"):
        add(work, label, "card")
        work.model(label).mkdir(parents=True)
        (work.model(label) / "README.md").write_text(f"---\nlicense: mit\n---\n# The card of {label}\n")
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    assert (
        "".join(runner.summaries).index("### 4bit")
        < "".join(runner.summaries).index("# The card of 4bit")
        < "".join(runner.summaries).index("### 8bit")
    )
    assert "| published |" not in "".join(runner.summaries)
    runner.summaries.clear()
    add(work, "4bit", "upload", result=published("acme/Tiny-4bit", "0123456789abcdef", HOSTILE))
    pull = "https://huggingface.co/acme/Tiny-8bit/discussions/1"
    add(work, "8bit", "upload", result=published("acme/Tiny-8bit", "0123456789abcdef", "", pull))
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    assert "The card of" not in "".join(runner.summaries)
    [_, table] = "".join(runner.summaries).split("| published |")
    lines = table.strip().splitlines()
    assert "[acme/Tiny-4bit](https://huggingface.co/acme/Tiny-4bit)" in lines[2]
    assert "[0123456789ab](https://huggingface.co/acme/Tiny-4bit/tree/0123456789abcdef)" in lines[2]
    assert lines[2].endswith("| 2 | 0 |")
    assert "<img" not in table
    assert "[acme/Tiny-8bit](https://huggingface.co/acme/Tiny-8bit/discussions/1)" in lines[3]


def test_a_refused_variant_is_annotated_at_the_recipe(runner: Job, work: Work, recipe: Recipe) -> None:
    add(work, "4bit", "card")
    failure = Finding("licence", "fail", "the licence is unknown", "Write one.")
    add(work, "8bit", "inspect", verdict="refused", checks=(failure, Finding("stops", "warn", "maybe", "Look.")))
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    assert runner.outputs["verdict"] == "refused"
    assert runner.outputs["card"] == f"{work.model('4bit')}/README.md"
    assert (runner.outputs["repo"], runner.outputs["commit"]) == ("", "")
    assert runner.annotations == [("tiny 8bit: licence: the licence is unknown Write one.", "recipes/tiny.yaml:3")]
    assert "| 8bit | inspect | refused | fail licence: the licence is unknown<br>warn stops: maybe |" in "".join(
        runner.summaries
    )


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        ((), "error"),
        (("pass",), "pass"),
        (("pass", "refused"), "refused"),
        (("refused", "error", "pass"), "error"),
    ],
)
def test_the_worst_verdict_counts_and_none_is_an_error(
    runner: Job, work: Work, recipe: Recipe, verdicts: tuple[Verdict, ...], worst: str
) -> None:
    for stage, verdict in zip(STAGES, verdicts, strict=False):
        add(work, "4bit", stage, verdict=verdict)
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    assert runner.outputs["verdict"] == worst


def test_only_the_stages_and_variants_of_this_run_count(runner: Job, work: Work, recipe: Recipe) -> None:
    add(work, "4bit", "inspect")
    add(work, "4bit", "upload", verdict="error")
    add(work, "8bit", "inspect", verdict="refused")
    outcome.write_outcome(work, recipe, recipe.variants[:1], ("inspect",), runner)
    assert runner.outputs["verdict"] == "pass"


def test_a_card_that_was_refused_is_no_card(runner: Job, work: Work, recipe: Recipe) -> None:
    add(work, "4bit", "card", verdict="refused")
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    assert (runner.outputs["card"], runner.outputs["evidence"]) == ("", "")


def test_strangers_words_are_text_in_the_summary(runner: Job, work: Work, recipe: Recipe) -> None:
    add(work, "4bit", "inspect", verdict="refused", checks=(Finding("licence", "fail", HOSTILE, HOSTILE),))
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse("".join(runner.summaries))
    inner = [child for token in tokens for child in token.children or []]
    assert {token.type for token in inner} <= {"text", "text_special", "softbreak"}
    assert not [token for token in tokens if token.type == "html_block"]
    assert [token.type for token in tokens].count("td_open") == 4
    shown = "".join(child.content for child in inner)
    assert "fail licence: <img src=x> | `a` [x](y) **b** ::error::z \ufffd[31m #1 @all" in shown


def test_what_was_not_proven_stands_in_the_summary(runner: Job, work: Work, recipe: Recipe) -> None:
    message = "the architecture is not proven: torch is not installed"
    skips = (
        Finding("twin-equal", "skip", message, details={"told": True}),
        Finding("other", "skip", "nothing to look at"),
    )
    add(work, "4bit", "inspect", checks=skips)
    outcome.write_outcome(work, recipe, recipe.variants[:1], STAGES, runner)
    assert f"skip twin-equal: {message}" in "".join(runner.summaries)
    assert "nothing to look at" not in "".join(runner.summaries)
