"""The text of a pull request: what a review has to look at, and other people's text as nothing but text."""

from __future__ import annotations

import copy
import re
import unicodedata
from pathlib import PurePosixPath

import pytest
from markdown_it import MarkdownIt

from hostile import HOSTILE
from mlx_publish.card.changes import body
from mlx_publish.evidence.evidence import Evidence
from samples import make_evidence, record

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PENDING = ("warn", "fixed")
PATH = PurePosixPath("cards/lab/Tiny-MLX-4bit")


def laden(word: str) -> Evidence:
    """Evidence that has the word wherever text stands, and where the reader lets none through."""
    checks = [{"id": word, "status": status, "message": word, "stage": word, "accepted": None} for status in PENDING]
    evidence = record(checks=checks, missing={word: word})
    source = evidence.source.model_copy(update={"repo": word, "identity": word})
    return evidence.model_copy(update={"source": source})


@pytest.mark.parametrize("word", HOSTILE)
def test_no_text_of_others_changes_the_structure(word: str) -> None:
    text, clean = (
        body(one, [(PATH.parent / one.replace("/", "_"), laden(one), None)], callback=one) for one in (word, "x")
    )
    tokens, wanted = MARKDOWN.parse(text), MARKDOWN.parse(clean)
    assert [token.type for token in tokens] == [token.type for token in wanted]
    inner, plain = ([child for token in some for child in token.children or []] for some in (tokens, wanted))
    kinds = [{child.type for child in some} - {"text_special", "softbreak"} for some in (inner, plain)]
    assert kinds[0] <= kinds[1]
    links = {str(child.attrs["href"]) for child in inner if child.type == "link_open"}
    # A word that a repo can be called is linked as one, and nothing else is.
    assert all(link.startswith(("cards/lab/", f"https://huggingface.co/{word}/tree/{word}")) for link in links)
    assert not [sign for sign in text if unicodedata.category(sign) in {"Cc", "Cf", "Zl", "Zp"} and sign != "\n"]
    assert not re.search(r"^\s*(::|##\[)", text, re.MULTILINE)


def test_links_lead_to_the_branch_where_it_is_known() -> None:
    assert "](cards/lab/Tiny-MLX-4bit/README.md)" in body("tiny", [(PATH, record(), None)])
    text = body("tiny", [(PATH, record(), None)], web="https://github.com/me/models/blob/mlx-publish/tiny/")
    assert "](https://github.com/me/models/blob/mlx-publish/tiny/cards/lab/Tiny-MLX-4bit/README.md)" in text
    assert "](https://huggingface.co/" in text


def test_evidence_of_another_time_is_not_compared_with() -> None:
    before = copy.deepcopy(make_evidence())
    del before["model"]
    text = body("tiny", [(PATH, record(), before)])
    assert "which cannot read the evidence before" in text
    assert "| bits per weight |  | 4." in text


def test_numbers_have_arrows_where_they_moved() -> None:
    before = copy.deepcopy(make_evidence())
    before["model"]["bits_per_weight"] *= 2
    text = body("tiny", [(PATH, record(), before)])
    assert re.search(r"\| bits per weight \| 9\.\d+ \| ↓ 4\.\d+ \|", text)
    assert re.search(r"\| mean KLD, nats \| (0\.\d+) \| \1 \|", text)


def test_evidence_of_another_version_is_compared_by_what_both_have() -> None:
    before = copy.deepcopy(make_evidence(schema="mlx-publish/evidence/0", checks=None, fidelity={"mean_kld": 0.5}))
    del before["benchmark"]["machine"]
    text = body("tiny", [(PATH, record(), before)])
    assert "| mean KLD, nats | 0.500 | ↓ 0.0451 |" in text
    assert "| generation tokens/s | 96.2 | 96.2 |" in text
    assert "| perplexity ratio | not measured |" in text
