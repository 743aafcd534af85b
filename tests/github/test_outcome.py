"""What a run leaves for the jobs after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pytest
from markdown_it import MarkdownIt

from mlx_publish.checks.registry import BY_STAGE, RAISED
from mlx_publish.errors import NOWHERE, Place
from mlx_publish.evidence.figures import Figures
from mlx_publish.evidence.measured import Against, Divergence
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Finding, Report, Verdict
from mlx_publish.evidence.results import Fidelity, PublishedRepo
from mlx_publish.github import outcome
from mlx_publish.github.deciding import DECIDED_BY
from mlx_publish.github.overview import kld_cell
from mlx_publish.github.runner import Runner
from mlx_publish.recipes.flags import section_of
from mlx_publish.recipes.recipe import Recipe, RecipeSpec
from mlx_publish.work import Work
from samples import make_recipe

STAGES = ("inspect", "convert", "card", "upload")
HOSTILE = "<img src=x> | `a` [x](y) **b**\n::error::z \x1b[31m #1 @all"


@dataclass(frozen=True)
class Job(Runner):
    """Keeps what a job would be given."""

    outputs: dict[str, str] = field(default_factory=dict)
    annotations: list[tuple[str, str, str, str]] = field(default_factory=list)
    summaries: list[str] = field(default_factory=list)

    def write(self, values: Mapping[str, str]) -> None:
        self.outputs.update(values)

    def annotate(
        self, message: str, place: Place = NOWHERE, *, title: str = "", level: Literal["error", "warning"] = "error"
    ) -> None:
        self.annotations.append((level, title, message, str(place)))

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
    lines = {"source": 3, "variants": 5, "variants[0]": 6, "variants[1]": 7, "to": 9, "fidelity.max_mean_kld": 12}
    return Recipe(plain.spec, "tiny", None, plain.destinations, "recipes/tiny.yaml", lines)


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
    places = [
        "".join(runner.summaries).index(text)
        for text in ("<summary>Card of 4bit</summary>", "# The card of 4bit", "<summary>Card of 8bit</summary>")
    ]
    assert places == sorted(places)
    assert "| published |" not in "".join(runner.summaries)
    runner.summaries.clear()
    add(work, "4bit", "upload", result=published("acme/Tiny-4bit", "0123456789abcdef", HOSTILE))
    pull = "https://huggingface.co/acme/Tiny-8bit/discussions/1"
    add(work, "8bit", "upload", result=published("acme/Tiny-8bit", "0123456789abcdef", "", pull))
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    assert "The card of" not in "".join(runner.summaries)
    [_, table] = "".join(runner.summaries).split("| published | commit |")
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
    assert runner.annotations == [
        ("error", "tiny 8bit: refused by licence", "the licence is unknown Next: Write one.", "recipes/tiny.yaml:3"),
        ("warning", "tiny 8bit: stops", "maybe Next: Look.", "recipes/tiny.yaml:3"),
    ]
    summary = "".join(runner.summaries)
    assert summary.startswith("### tiny: 1 of 2 variants refused\n")
    assert "| 8bit | **refused** in inspect |" in summary
    assert "- **8bit** (inspect, `licence`): the licence is unknown. **Next:** Write one." in summary
    assert "`stops`" not in summary.split("<details>")[0]  # of what is refused nobody decides anything else
    assert "| inspect | `stops` | 8bit | warn | maybe |" in summary


LOSSY = Finding("mean-kld", "warn", "heavily lossy: mean KLD 0.4640 nats", "Use 6 bits.")
OVER = Finding("mean-kld", "fail", "heavily lossy: mean KLD 1.3 nats; the limit is 1", "Use 6 bits.")


@pytest.mark.parametrize(
    ("label", "finding", "place"),
    [
        ("8bit", OVER, 12),  # the limit that is written
        ("8bit", LOSSY, 7),  # the limit was kept: the variant decides
        ("8bit", Finding("perplexity", "fail", "too high"), 7),  # a limit that is not written
        ("4bit", Finding("groups-fit", "fail", "64 does not divide 100"), 6),
        ("4bit", Finding("destination-ours", "fail", "somebody else's"), 9),
        ("4bit", Finding("licence", "fail", "none"), 3),  # no license is written
        ("4bit", Finding("no-code", "fail", "a pickle"), 3),
    ],
)
def test_an_annotation_stands_at_the_line_that_decides(
    runner: Job, work: Work, recipe: Recipe, label: str, finding: Finding, place: int
) -> None:
    add(work, label, "inspect", verdict="pass" if finding is LOSSY else "refused", checks=(finding,))
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    [(level, title, _, where)] = runner.annotations
    assert where == f"recipes/tiny.yaml:{place}"
    assert level == ("warning" if finding.status == "warn" else "error")
    assert title.startswith(f"tiny {label}: ")


def test_every_check_of_the_map_exists_once_and_every_key_is_one_of_a_recipe() -> None:
    checks = [check for some in DECIDED_BY.values() for check in some]
    assert len(checks) == len(set(checks))
    assert set(checks) <= {check.id for some in BY_STAGE.values() for check in some} | RAISED.keys()
    for key in DECIDED_BY:
        model: Any = RecipeSpec
        for part in key.split("."):
            assert part in model.model_fields, key
            model = section_of(model.model_fields[part].annotation)


def test_a_finding_of_several_variants_is_said_once(runner: Job, work: Work, recipe: Recipe) -> None:
    for label in ("4bit", "8bit"):
        add(work, label, "inspect", checks=(Finding("template", "warn", "odd", "Look."),))
    outcome.write_outcome(work, recipe, recipe.variants, STAGES, runner)
    assert [title for _, title, *_ in runner.annotations] == ["tiny 4bit, 8bit: template"]
    assert "- **4bit, 8bit** (inspect, `template`): odd" in "".join(runner.summaries)
    assert "| inspect | `template` | all | warn | odd |" in "".join(runner.summaries)


def measured(mean_kld: float, same: float) -> dict[str, Any]:
    """What fidelity reports."""
    numbers: dict[str, Any] = dict.fromkeys((field.name for field in fields(Divergence)), 1.0)
    numbers |= {"positions": 8, "mean_kld": mean_kld, "same_first_choice": same, "by_kind": {}}
    numbers |= {
        "tokens_sha256": "",
        "computed_in": "float32",
        "errors_by": "passage",
        "by_passage": None,
        "passages": 8,
        "pictures": None,
        "pictures_fault": None,
    }
    report: dict[str, Any] = to_json(
        Fidelity(**numbers, source_computed_in="float32", limited=False, against=Against("source"))
    )
    return report


def test_a_run_of_four_variants_has_what_matters_in_25_lines(runner: Job, work: Work) -> None:
    plain = make_recipe(variants=["2bit", "4bit", "8bit", "mxfp4"])
    many = tuple(Finding(f"odd-{number}", "warn", "is odd", "Look.") for number in range(30))
    for label, kld in (("2bit", 14.5), ("4bit", 0.464), ("8bit", 0.003), ("mxfp4", 1.3)):
        refused = kld > 1
        add(work, label, "inspect", checks=many)
        check = OVER if refused else LOSSY if kld > 0.4 else Finding("mean-kld", "pass", "near-identical")
        verdict: Verdict = "refused" if refused else "pass"
        add(work, label, "fidelity", verdict=verdict, checks=(check,), result=measured(kld, 0.66))
        if not refused:
            add(work, label, "card")
            work.model(label).mkdir(parents=True)
            (work.model(label) / "README.md").write_text("# A card\n" + "of many lines\n" * 200)
    outcome.write_outcome(work, plain, plain.variants, (*STAGES, "fidelity"), runner)
    summary = "".join(runner.summaries)
    essential, *folded = summary.split("<details>")
    assert len(essential.strip().splitlines()) <= 25
    assert "### tiny: 2 of 4 variants refused" in essential
    assert "| 4bit | passed, 31 warnings | 0.464, **heavily lossy** | 66.0 % |" in essential
    assert "| 8bit | passed, 30 warnings | 0.00300, near-identical | 66.0 % |" in essential
    assert "| mxfp4 | **refused** in fidelity | 1.30, **heavily lossy** | 66.0 % |" in essential
    assert "- **2bit, mxfp4** (fidelity, `mean-kld`): heavily lossy" in essential
    warned = essential.split("**Please review**")[1].strip().splitlines()
    assert warned[0].startswith("- **4bit** (fidelity, `mean-kld`): heavily lossy")
    assert warned[-1] == "- 25 more below, under *All findings*"
    assert len(folded) == 3
    assert all(part.rstrip().endswith("</details>") for part in folded)


def test_links_of_a_card_lead_somewhere_in_the_summary(work: Work, recipe: Recipe) -> None:
    runner = Job(server="https://github.com", repo="lab/models", run="12")
    add(work, "4bit", "card")
    work.model("4bit").mkdir(parents=True)
    card = "![Chart of sizes](ladder.svg)\n[Licence](LICENSE), [web](https://example.org/a)\n```\n[x](y)\n```\n"
    (work.model("4bit") / "README.md").write_text(card)
    outcome.write_outcome(work, recipe, recipe.variants[:1], STAGES, runner)
    summary = "".join(runner.summaries)
    assert "[Chart of sizes](https://github.com/lab/models/actions/runs/12#artifacts)" in summary
    assert "\nLicence, [web](https://example.org/a)\n```\n[x](y)\n```\n" in summary


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
    allowed = {"text", "text_special", "softbreak", "code_inline", "strong_open", "strong_close"}
    assert {token.type for token in inner} <= allowed
    assert {child.content for child in inner if child.type == "code_inline"} == {"licence"}
    blocks = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert blocks == ["<details><summary>All findings (1)</summary>", "</details>"]
    assert [token.type for token in tokens].count("td_open") == 2 + 2 + 5
    shown = "".join(child.content for child in inner)
    assert shown.count("<img src=x> | `a` [x](y) **b** ::error::z \ufffd[31m #1 @all") == 3


def test_what_was_not_proven_stands_in_the_summary(runner: Job, work: Work, recipe: Recipe) -> None:
    message = "the architecture is not proven: torch is not installed"
    skips = (
        Finding("twin-equal", "skip", message, details={"told": True}),
        Finding("other", "skip", "nothing to look at"),
    )
    add(work, "4bit", "inspect", checks=skips)
    outcome.write_outcome(work, recipe, recipe.variants[:1], STAGES, runner)
    above, below = "".join(runner.summaries).split("<details>")
    assert f"- **4bit** (inspect, `twin-equal`): {message}" in above
    assert "nothing to look at" not in above
    assert "| inspect | `other` | all | skip | nothing to look at |" in below


def test_the_overview_names_the_distance_with_pictures_where_there_is_one() -> None:
    assert kld_cell(Figures(mean_kld=0.0451)) == "0.0451, very close"
    assert kld_cell(Figures(mean_kld=0.0451, pictures_kld=0.0612)) == "0.0451, very close; 0.0612 with pictures"
    assert kld_cell(Figures(pictures_kld=0.0612)) == "—"
