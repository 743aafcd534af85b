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

FOLDER = files("mlx_publish").joinpath("data/fidelity")
# Characters, and tokens by the demo model: bounds of each text.
SIZES = {
    "prose.txt": ((4900, 5900), (1200, 1400)),
    "code.txt": ((2400, 3000), (850, 1000)),
    "dialogue.json": ((2900, 3600), (850, 1000)),
    "scripts.txt": ((950, 1200), (850, 950)),
}
LANGUAGES = {"python", "c", "javascript", "sql", "sh", "json", "diff", "markdown"}
# One paragraph for each, in this order, with all of these letters in it.
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
PIECES = ("Footbridge", "Dear Aunt", "To make a", "The first instruments", "From a weather", "7. Late", "On the night")
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


def text_of(name: str) -> str:
    return FOLDER.joinpath(name).read_bytes().decode("utf-8")


def dialogues() -> list[list[dict[str, str]]]:
    found: list[list[dict[str, str]]] = json.loads(text_of("dialogue.json"))
    return found


def contents(name: str) -> list[str]:
    """What the model will read: for dialogues each turn without the JSON around it."""
    if name == "dialogue.json":
        return [turn["content"] for dialogue in dialogues() for turn in dialogue]
    return [text_of(name)]


def blocks() -> dict[str, str]:
    return dict(FENCED.findall(text_of("code.txt")))


def long_sentences() -> Iterator[str]:
    for name in SIZES:
        for content in contents(name):
            yield from (part.strip() for part in SENTENCE_END.split(content) if len(part.strip()) >= 40)


def test_these_texts_and_no_others() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_size_in_characters(name: str) -> None:
    least, most = SIZES[name][0]
    assert least <= sum(map(len, contents(name))) <= most


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_size_in_tokens(name: str, source: Path) -> None:
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    least, most = SIZES[name][1]
    assert least <= sum(len(tokenizer.encode(content).ids) for content in contents(name)) <= most


@pytest.mark.parametrize("name", SIZES)
def test_every_machine_reads_the_same_characters(name: str) -> None:
    text = text_of(name)
    assert unicodedata.is_normalized("NFC", text)
    assert {char for char in text if unicodedata.category(char)[0] == "C"} == {"\n"}
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    # An empty line of a diff's context would be a blank, too: the diff has none.
    assert not [line for line in text.split("\n") if line != line.rstrip()]


@pytest.mark.parametrize("name", SIZES)
def test_nothing_reads_as_a_special_token(name: str) -> None:
    """`<s>`, `<|im_end|>`, `[INST]` and their like would be one id in some models and many in others."""
    for content in contents(name):
        assert re.search(r"<[^\s.<>]+>|\[/?INST\]", content) is None


def test_dialogues_alternate_and_end_with_an_answer() -> None:
    found = dialogues()
    assert len(found) == 5
    for dialogue in found:
        assert len(dialogue) >= 2
        assert len(dialogue) % 2 == 0
        for index, turn in enumerate(dialogue):
            assert list(turn) == ["role", "content"]
            assert turn["role"] == ("user", "assistant")[index % 2]
            # Some templates trim what they are given.
            assert turn["content"]
            assert turn["content"] == turn["content"].strip()


def test_code_is_nothing_but_one_block_of_each_language() -> None:
    text = text_of("code.txt")
    assert Counter(name for name, _ in FENCED.findall(text)) == Counter(LANGUAGES)
    assert FENCED.sub("", text).strip() == ""


def test_python_and_json_parse() -> None:
    ast.parse(blocks()["python"])
    assert isinstance(json.loads(blocks()["json"]), dict)


def test_python_of_the_dialogues_parses() -> None:
    fenced = [code for content in contents("dialogue.json") for name, code in FENCED.findall(f"{content}\n")]
    assert fenced
    for code in fenced:
        ast.parse(code)


def test_python_does_what_it_says(tmp_path: Path) -> None:
    """What is shown to models as right should be right."""
    path = tmp_path / "block.py"
    path.write_text(blocks()["python"], encoding="utf-8")
    module = run_path(str(path))
    span, gaps = module["Span"], module["gaps"]
    day = span(480, 600)
    assert gaps([], day) == [day]
    assert gaps([span(0, 700)], day) == []
    busy = [span(500, 590), span(490, 495), span(650, 700)]
    assert gaps(busy, day, 5) == [span(480, 490), span(495, 500), span(590, 600)]
    assert gaps(busy, day) == []


def test_the_diff_counts_its_lines() -> None:
    before, after, header, *lines = blocks()["diff"].splitlines()
    assert (before[:4], after[:4]) == ("--- ", "+++ ")
    first = Counter(line[0] for line in lines)
    kept = first[" "]
    assert set(first) == {" ", "-", "+"}
    assert header == f"@@ -4,{kept + first['-']} +4,{kept + first['+']} @@"


def test_the_table_has_the_same_columns_in_each_row() -> None:
    assert {line.count("|") for line in blocks()["markdown"].splitlines()} == {4}


def test_prose_is_of_several_pieces() -> None:
    text = text_of("prose.txt")
    places = [f"\n\n{text}".index(f"\n\n{start}") for start in PIECES]
    assert places == sorted(places)


def test_a_paragraph_for_each_language() -> None:
    paragraphs = text_of("scripts.txt").rstrip("\n").split("\n\n")
    assert len(paragraphs) == len(PARAGRAPHS)
    for (language, letters), paragraph in zip(PARAGRAPHS.items(), paragraphs, strict=True):
        assert not set(letters) - set(paragraph), language
    assert re.search(r"\b(wakulima|shamba)\b", paragraphs[-1])


def test_every_script_occurs() -> None:
    text = text_of("scripts.txt")
    assert {unicodedata.name(char).split()[0] for char in text if char.isalpha() and char != "ー"} == SCRIPTS


def test_no_long_sentence_comes_twice() -> None:
    assert [sentence for sentence, times in Counter(long_sentences()).items() if times > 1] == []
