"""The text of a pull request: what a review has to look at, and other people's text as nothing but text."""

from __future__ import annotations

import copy
import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath

import pytest
from markdown_it import MarkdownIt

from hostile import HOSTILE
from mlx_publish.card.changes import Proposed, Review, body, title
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.text import kit
from mlx_publish.text.markdown import escape
from samples import make_evidence, record
from samples_that_see import make_seeing

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PENDING = ("warn", "fixed")
PATH = PurePosixPath("cards/lab/Tiny-MLX-4bit")


WEB = "https://github.com/me/models/blob/mlx-publish/tiny/"


def laden(word: str) -> Evidence:
    """Evidence that has the word wherever text stands, and where the reader lets none through."""
    checks = [{"id": word, "status": status, "message": word, "stage": word, "accepted": word} for status in PENDING]
    evidence = record(checks=checks, missing={word: word}, untested=word)
    source = evidence.source.model_copy(update={"repo": word, "identity": word})
    licence = evidence.licence.model_copy(update={"id": word, "name": word, "link": word})
    variant = evidence.variant.model_copy(update={"label": word})
    return evidence.model_copy(update={"source": source, "licence": licence, "variant": variant})


@pytest.mark.parametrize("word", HOSTILE)
def test_no_text_of_others_changes_the_structure(word: str) -> None:
    text, clean = (
        body(
            [Proposed(PATH.parent / one.replace("/", "_"), laden(one), {"licence": {"id": f"{one}!"}})],
            Review(web=WEB, base=one, tag=one, pinned=one, callback=one),
        )
        for one in (word, "x")
    )
    tokens, wanted = MARKDOWN.parse(text), MARKDOWN.parse(clean)
    assert [token.type for token in tokens] == [token.type for token in wanted]
    inner, plain = ([child for token in some for child in token.children or []] for some in (tokens, wanted))
    kinds = [{child.type for child in some} - {"text_special", "softbreak"} for some in (inner, plain)]
    assert kinds[0] <= kinds[1] | {"link_open", "link_close"}
    links = {str(child.attrs["href"]) for child in inner if child.type == "link_open"}
    # A word that a repo or a page can be called is linked as one, and nothing else is.
    ours = (f"{WEB}cards/lab/", f"https://huggingface.co/{word}/tree/{word}", kit.address())
    assert all(link.startswith(ours) or link == word for link in links)
    assert not [sign for sign in text if unicodedata.category(sign) in {"Cc", "Cf", "Zl", "Zp"} and sign != "\n"]
    assert not re.search(r"^\s*(::|##\[)", text, re.MULTILINE)


def text_of(before: Mapping[str, object] | None = None, **keys: object) -> str:
    """The text about one card."""
    return body([Proposed(PATH, record(**keys), before)], Review(web=WEB))


def test_links_are_addresses_or_words() -> None:
    text = text_of()
    assert f"]({WEB}cards/lab/Tiny-MLX-4bit/README.md)" in text
    assert f"]({kit.page('docs/workflows.md#what-reviewers-see')})" in text
    targets = re.findall(r"\]\(([^)]+)\)", text + body([Proposed(PATH, record())], Review()))
    assert all(target.startswith("https://") for target in targets)


def test_evidence_of_another_time_is_not_compared_with() -> None:
    before = copy.deepcopy(make_evidence())
    del before["model"]
    text = text_of(before)
    assert "which cannot read the evidence on the base branch" in text
    assert "| bits per weight |  | 4." in text


@pytest.mark.parametrize("odd", [{"fidelity": {"mean_kld": "high"}}, {"fidelity": []}, {"benchmark": {"lengths": [1]}}])
def test_odd_evidence_before_breaks_nothing(odd: Mapping[str, object]) -> None:
    assert "new to this version" in text_of({**make_evidence(), **odd}) or odd == {"fidelity": []}


def test_numbers_have_arrows_where_they_moved() -> None:
    before = copy.deepcopy(make_evidence())
    before["model"]["bits_per_weight"] *= 2
    before["fidelity"]["same_first_choice"] = 0.1
    text = text_of(before)
    assert re.search(r"\| bits per weight \| 9\.\d+ \| ↓ 4\.\d+ \|", text)
    assert re.search(r"\| mean KLD \| (0\.\d+) \| \1 \|", text)
    assert re.search(r"^\| \[.*\| ↑ \d+\.\d % \|", text, re.MULTILINE)
    assert re.search(r"same files; bits per weight 9\.\d+ → 4\.\d+; top-1 agreement 10\.0 % → ", text)


def test_the_number_with_pictures_stands_where_there_is_one() -> None:
    seen, before = make_seeing(), make_seeing()
    before["fidelity"]["pictures"]["mean_kld"] = 0.5
    text = body([Proposed(PATH, Evidence.of(seen), before)], Review(web=WEB))
    assert "| mean KLD with pictures | 0.500 | ↓ 0.0612 |" in text
    assert "mean KLD with pictures 0.500 → 0.0612" in text
    assert "with pictures" not in text_of(copy.deepcopy(make_evidence()))


def test_speeds_on_different_devices_say_nothing_about_each_other() -> None:
    before = copy.deepcopy(make_evidence())
    before["benchmark"] |= {"backend": "cuda", "gpu": "NVIDIA H100 80GB HBM3"}
    for length in before["benchmark"]["lengths"]:
        length["generation_tps"] = {"median": 900.0, "lowest": 899.0, "highest": 901.0}
    text = text_of(before)
    assert "| tokens/s | 900 | 96.2 |" in text
    assert "same files; speed on GPU, before on NVIDIA H100 80GB HBM3, CUDA" in text
    assert "900 →" not in text


def test_evidence_of_another_version_is_compared_by_what_both_have() -> None:
    before = copy.deepcopy(make_evidence(schema="mlx-publish/evidence/0", checks=None, fidelity={"mean_kld": 0.5}))
    del before["benchmark"]["machine"]
    text = text_of(before)
    assert "| mean KLD | 0.500 | ↓ 0.0451 |" in text
    assert "| tokens/s | 96.2 | 96.2 |" in text
    assert "| perplexity ratio | not measured |" in text


def test_whoever_decides_reads_heavily_lossy_first() -> None:
    fidelity = {**make_evidence()["fidelity"], "mean_kld": 0.464}
    checks = [
        {"id": "date", "status": "warn", "message": "prints a date", "stage": "smoke", "accepted": None},
        {
            "id": "stops",
            "status": "warn",
            "message": "goes on (accepted: so be it)",
            "stage": "smoke",
            "accepted": "so be it",
        },
        {"id": "mean-kld", "status": "warn", "message": "heavily lossy: 0.464", "stage": "fidelity", "accepted": None},
    ]
    card = Proposed(PATH, record(fidelity=fidelity, checks=checks))
    label = card.evidence.variant.label
    text = body([card], Review(web=WEB))
    assert "| **heavily lossy** |" in text.splitlines()[2]
    notes = text.partition("#### Please review")[2].strip().splitlines()
    assert notes[0] == f"- **{label}**: heavily lossy: 0.464 (`mean-kld`)"
    assert notes[1] == f"- **{label}**: goes on (accepted: so be it) (`stops`)"
    assert title("tiny", [card]) == f"Cards of tiny ({label} heavily lossy)"
    assert title("tiny", [Proposed(PATH, record())]) == "Cards of tiny"


def test_the_commands_after_merging_cannot_be_other_commands() -> None:
    text = body([Proposed(PATH, record())], Review(base="a;id", tag="tiny/v3"))
    assert "git switch 'a;id' && git pull\ngit tag tiny/v3 && git push origin tiny/v3\n```" in text


def test_a_variant_without_a_card_is_the_first_thing_to_look_at() -> None:
    text = body([Proposed(PATH, record())], Review(tag="tiny/v1", without=["mxfp4", "2bit"]))
    notes = text.partition("#### Please review\n\n")[2]
    assert notes.startswith("- **mxfp4, 2bit**: no card, because the checks refused it or it has not run.")
    assert "no card" not in body([Proposed(PATH, record())], Review(tag="tiny/v1"))


@pytest.mark.parametrize(
    ("why", "note"),
    [
        ("", "not measured"),
        (", because the stage benchmark was refused", "not measured: the stage benchmark was refused"),
        (
            ", because measured, too unsteady to publish (±66 %): spread: 7880.8 to 23957.7",
            "measured, too unsteady to publish (±66 %)",
        ),
    ],
)
def test_a_stage_without_numbers_says_why_in_a_sentence(why: str, note: str) -> None:
    evidence = record(benchmark=None, missing={"benchmark": why})
    text = body([Proposed(PurePosixPath("cards/a"), evidence)], Review())
    assert any(line.endswith(f": {escape(note)} (`benchmark`)") for line in text.splitlines()), text
