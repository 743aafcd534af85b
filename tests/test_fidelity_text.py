"""The texts that fidelity is measured on: their form, and that what they promise is in them."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from runpy import run_path

import pytest
from tokenizers import Tokenizer

from mlx_publish.text.documents import Document, Turns, documents

FOLDER = files("mlx_publish").joinpath("data/fidelity")
# How many documents at least, and bounds of each in tokens by the demo model.
KINDS = {"prose": (12, (120, 350)), "code": (8, (120, 350)), "dialogue": (8, (120, 350)), "scripts": (8, (120, 350))}
LANGUAGES = {"python", "c", "javascript", "rust", "sql", "sh", "json", "diff", "markdown"}
# One paragraph for each, with all of these letters in it.
PARAGRAPHS = {
    "German": "äöß",
    "French": "êçû",
    "Spanish": "¿ñüé",
    "Polish": "śłó",
    "Turkish": "ığşç",
    "Russian": "чыаП",
    "Greek": "Τώόφ",
    "Arabic": "قعحز",
    "Hebrew": "שםעח",
    "Hindi": "गँैं",
    "Chinese": "这汤盐",
    "Japanese": "駅のパ",
    "Korean": "비늘떴",
    "Vietnamese": "ổộậả",
    "Thai": "ค้ะ่",
    "Swahili": "",
}
SCRIPTS = {
    "LATIN",
    "CYRILLIC",
    "GREEK",
    "ARABIC",
    "HEBREW",
    "DEVANAGARI",
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "HANGUL",
    "THAI",
}
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SENTENCE_END = re.compile(r"(?<=[.!?。])\s+|\n")


def text_of(kind: str) -> str:
    return FOLDER.joinpath(f"{kind}.txt").read_bytes().decode("utf-8")


def found(kind: str) -> list[Document]:
    return documents(text_of(kind))


def dialogues() -> list[Turns]:
    return [document.turns for document in found("dialogue")]


def contents(kind: str) -> list[str]:
    """What the model will read: for dialogues each turn without the lines that divide them."""
    if kind == "dialogue":
        return [turn["content"] for dialogue in dialogues() for turn in dialogue]
    return [document.text for document in found(kind)]


def code(language: str) -> list[str]:
    return [document.text for document in found("code") if document.title.startswith(f"{language}: ")]


def long_sentences() -> Iterator[str]:
    for kind in KINDS:
        for content in contents(kind):
            yield from (part.strip() for part in SENTENCE_END.split(content) if len(part.strip()) >= 40)


def test_these_texts_and_no_others() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{kind}.txt" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_many_documents_each_with_a_title_of_its_own(kind: str) -> None:
    titles = [document.title for document in found(kind)]
    assert len(titles) >= KINDS[kind][0]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_has_a_subject_of_its_own(kind: str) -> None:
    """Passages are taken as independent: no two documents may begin alike."""
    beginnings = Counter(document.text[:20] for document in found(kind) if kind != "dialogue")
    assert [text for text, times in beginnings.items() if times > 1] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_size_in_tokens(kind: str, source: Path) -> None:
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    least, most = KINDS[kind][1]
    sizes = {document.title: len(tokenizer.encode(document.text).ids) for document in found(kind)}
    assert {title: size for title, size in sizes.items() if not least <= size <= most} == {}


@pytest.mark.slow
def test_the_reference_says_how_much_there_is(source: Path) -> None:
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    texts = [document.text for kind in KINDS for document in found(kind)]
    total = round(sum(len(tokenizer.encode(text).ids) for text in texts), -3)
    assert f"has {len(texts)} documents with about {total:,} tokens" in " ".join(
        (Path(__file__).parents[1] / "docs/recipe.md").read_text(encoding="utf-8").split()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_machine_reads_the_same_characters(kind: str) -> None:
    text = text_of(kind)
    assert unicodedata.is_normalized("NFC", text)
    assert {char for char in text if unicodedata.category(char)[0] == "C"} == {"\n"}
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    # An empty line of a diff's context would be a blank, too: the diff has none.
    assert not [line for line in text.split("\n") if line != line.rstrip()]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_reads_as_a_special_token(kind: str) -> None:
    """`<s>`, `<|im_end|>`, `[INST]` and their like would be one id in some models and many in others."""
    for content in contents(kind):
        assert re.search(r"(?<![\w:])<[^\s.<>]+>|</|<\||\[/?INST\]", content) is None


def test_dialogues_alternate_and_end_with_an_answer() -> None:
    for dialogue in dialogues():
        assert len(dialogue) >= 2
        assert len(dialogue) % 2 == 0
        for index, turn in enumerate(dialogue):
            assert list(turn) == ["role", "content"]
            assert turn["role"] == ("user", "assistant")[index % 2]
            # Some templates trim what they are given.
            assert turn["content"]
            assert turn["content"] == turn["content"].strip()


def test_each_language_has_code() -> None:
    assert {document.title.partition(": ")[0] for document in found("code")} == LANGUAGES


def test_python_and_json_parse() -> None:
    for text in code("python"):
        ast.parse(text)
    assert isinstance(json.loads(code("json")[0]), dict)


def test_python_of_the_dialogues_parses() -> None:
    fenced = [block for content in contents("dialogue") for _, block in FENCED.findall(f"{content}\n")]
    assert fenced
    for block in fenced:
        ast.parse(block)


def test_python_does_what_it_says(tmp_path: Path) -> None:
    """What is shown to models as right should be right."""
    path = tmp_path / "block.py"
    path.write_text("\n\n\n".join(code("python")), encoding="utf-8")
    module = run_path(str(path))
    assert module["root"](lambda x: x * x - 2, lambda x: 2 * x, 1.0) == pytest.approx(2**0.5)
    span, gaps = module["Span"], module["gaps"]
    day = span(480, 600)
    assert gaps([], day) == [day]
    assert gaps([span(0, 700)], day) == []
    busy = [span(500, 590), span(490, 495), span(650, 700)]
    assert gaps(busy, day, 5) == [span(480, 490), span(495, 500), span(590, 600)]
    assert gaps(busy, day) == []


def test_the_diff_counts_its_lines() -> None:
    before, after, header, *lines = code("diff")[0].splitlines()
    assert (before[:4], after[:4]) == ("--- ", "+++ ")
    first = Counter(line[0] for line in lines)
    kept = first[" "]
    assert set(first) == {" ", "-", "+"}
    assert header == f"@@ -4,{kept + first['-']} +4,{kept + first['+']} @@"


def test_the_table_has_the_same_columns_in_each_row() -> None:
    rows = [line for line in code("markdown")[0].splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4}


def test_a_paragraph_for_each_language() -> None:
    paragraphs = [paragraph for text in contents("scripts") for paragraph in text.split("\n\n")]
    for language, letters in PARAGRAPHS.items():
        assert [text for text in paragraphs if set(letters) <= set(text)], language


def test_every_script_occurs() -> None:
    text = "".join(contents("scripts"))
    letters = {char for char in text if char.isalpha() and char not in "ーºª"}
    assert {unicodedata.name(char).split()[0] for char in letters} == SCRIPTS


def test_no_long_sentence_comes_twice() -> None:
    assert [sentence for sentence, times in Counter(long_sentences()).items() if times > 1] == []
