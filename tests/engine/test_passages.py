"""The text of the comparison as ids: how much of each kind, of which documents, by which tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer  # noqa: TID251 -- what the engine hands over
from tokenizers import Tokenizer, processors

from mlx_publish.engine.passages import LONGEST, SHARES, Passage, Texts, passages, tokens_sha256
from mlx_publish.source.logits import texts
from models import make_model
from tiny_tokenizer import CHATML, SPECIAL, TURN_START, build_tokenizer

TEXTS = texts()
REFUSING = "{{ raise_exception('roles must alternate') }}"
DIALOGUE = [{"role": "user", "content": "Wer?"}, {"role": "assistant", "content": 'Ich, "Frank".'}]


class Unread:
    """A tokenizer that must not be asked for ids."""

    has_chat_template = False

    def encode(self, *_: object, **__: object) -> list[int]:
        raise AssertionError


def made(folder: Path, template: str | None = CHATML, **keys: Any) -> tuple[Path, Any]:
    """A folder, and its tokenizer as mlx-lm loads it."""
    make_model(folder, chat_template=template, **keys)
    return folder, load_tokenizer(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return made(tmp_path_factory.mktemp("passages") / "m")


def cut(tiny: tuple[Path, Any], tokens: int, **changed: object) -> tuple[Passage, ...]:
    return passages(*tiny, Texts(**{**TEXTS, **changed}), tokens)


def of_kind(parts: tuple[Passage, ...], kind: str) -> list[int]:
    return [id_ for part in parts if part.kind == kind for id_ in part.ids]


def ids_of(text: str, tokenizer: Tokenizer | None = None) -> list[int]:
    ids: list[int] = (tokenizer or build_tokenizer()).encode(text).ids
    return ids


def by_kind(parts: tuple[Passage, ...]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for part in parts:
        counted[part.kind] += len(part.ids)
    return dict(counted)


def sizes(parts: tuple[Passage, ...], kind: str) -> list[int]:
    return [len(part.ids) for part in parts if part.kind == kind]


def test_each_kind_has_its_share(tiny: tuple[Path, Any]) -> None:
    parts = cut(tiny, 1000)
    assert by_kind(parts) == {"prose": 400, "code": 200, "dialogue": 200, "scripts": 200}
    assert list(dict.fromkeys(part.kind for part in parts)) == list(SHARES)
    assert sum(part.positions for part in parts) == 1000 - len(parts)


def test_what_a_kind_cannot_fill_stays_empty(tiny: tuple[Path, Any]) -> None:
    parts = cut(tiny, 1000, prose=["The Sun, twice: the Sun."], code=[])
    assert by_kind(parts) == {"prose": len(ids_of("The Sun, twice: the Sun.")), "dialogue": 200, "scripts": 200}


@pytest.mark.parametrize(("tokens", "least"), [(256, 8), (512, 16), (1024, 16), (2048, 16), (4096, 16), (8192, 32)])
def test_the_tokens_are_divided_among_many_documents(tiny: tuple[Path, Any], tokens: int, least: int) -> None:
    """Errors are those of passages; ten of them are few."""
    parts = cut(tiny, tokens)
    assert len(parts) >= least
    assert len({(part.kind, part.index) for part in parts}) == len(parts)
    assert max(len(part.ids) for part in parts) <= LONGEST
    for kind in SHARES:
        assert len(sizes(parts, kind)) >= 2
        assert max(sizes(parts, kind)) - min(sizes(parts, kind)) <= 1


def test_a_passage_is_the_beginning_of_the_document_that_it_names(tiny: tuple[Path, Any]) -> None:
    for part in cut(tiny, 2048):
        if part.kind != "dialogue":
            assert list(part.ids) == ids_of(TEXTS[part.kind][part.index])[: len(part.ids)]


def test_a_short_document_leaves_its_room_to_those_after_it(tiny: tuple[Path, Any]) -> None:
    prose = ["x" * 10, "y" * 500, "z" * 500, "never read " * 50]
    parts = cut(tiny, 500, prose=prose)
    assert sizes(parts, "prose") == [10, 32, 32, 32]
    parts = cut(tiny, 8000, prose=prose)
    assert sizes(parts, "prose") == [10, 256, 256, 256]


@pytest.mark.parametrize(("prose", "found"), [([7], []), ([8], [(0, 8)]), ([7, 9], [(1, 9)]), ([300], [(0, LONGEST)])])
def test_a_passage_of_a_few_tokens_tells_nothing(
    tiny: tuple[Path, Any], prose: list[int], found: list[tuple[int, int]]
) -> None:
    parts = cut(tiny, 10_240, prose=["x" * size for size in prose])
    assert [(part.index, len(part.ids)) for part in parts if part.kind == "prose"] == found


def test_the_fewest_tokens_of_a_recipe_are_enough_for_something(tiny: tuple[Path, Any]) -> None:
    assert by_kind(cut(tiny, 32)) == {"prose": 32}


def test_the_ids_are_those_of_the_file(tiny: tuple[Path, Any]) -> None:
    parts = passages(tiny[0], Unread(), Texts(**TEXTS), 500)
    for part in parts:
        if part.kind != "dialogue":
            assert list(part.ids) == ids_of(TEXTS[part.kind][part.index])[: len(part.ids)]


def test_limits_that_stand_in_the_file_do_not_count(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.enable_truncation(10)
    tokenizer.enable_padding(length=2000)
    folder, _ = made(tmp_path / "m", tokenizer=tokenizer)
    parts = passages(folder, Unread(), Texts(**{**TEXTS, "code": ["y" * 25]}), 500)
    assert by_kind(parts) == {"prose": 200, "code": 25, "dialogue": 100, "scripts": 100}


def test_a_text_begins_as_the_tokenizer_begins_it_and_a_template_by_itself(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    begin = SPECIAL[TURN_START]
    tokenizer.post_processor = processors.TemplateProcessing(f"{begin} $A", None, [(begin, TURN_START)])
    parts = passages(*made(tmp_path / "m", tokenizer=tokenizer), Texts(**TEXTS), 500)
    for part in parts:
        assert part.ids[0] == TURN_START
        assert part.ids[1] != TURN_START


def test_dialogues_are_rendered_by_the_template(tiny: tuple[Path, Any]) -> None:
    parts = cut(tiny, 2000, dialogue=[DIALOGUE, DIALOGUE])
    rendered = '<|im_start|>user\nWer?<|im_end|>\n<|im_start|>assistant\nIch, "Frank".<|im_end|>\n'
    assert [part.ids for part in parts if part.kind == "dialogue"] == [tuple(ids_of(rendered))] * 2


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (None, 'Wer?\n\nIch, "Frank".'),
        (REFUSING, json.dumps(DIALOGUE, ensure_ascii=False)),
    ],
)
def test_dialogues_are_read_without_a_template_too(tmp_path: Path, template: str | None, text: str) -> None:
    parts = cut(made(tmp_path / "m", template), 2000, dialogue=[DIALOGUE, DIALOGUE])
    assert [part.ids for part in parts if part.kind == "dialogue"] == [tuple(ids_of(text))] * 2


def test_without_the_file_the_class_is_asked(tmp_path: Path) -> None:
    class Letters:
        has_chat_template = False

        def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
            return [1] * add_special_tokens + [ord(letter) for letter in text]

    parts = passages(tmp_path, Letters(), Texts(**{**TEXTS, "dialogue": [DIALOGUE]}), 100)
    assert of_kind(parts, "prose") == [id_ for text in TEXTS["prose"][:2] for id_ in (1, *map(ord, text[:19]))]
    assert of_kind(parts, "dialogue") == [1, *map(ord, 'Wer?\n\nIch, "Frank".')]


def test_the_digest_is_of_the_ids_and_their_passages(tiny: tuple[Path, Any]) -> None:
    parts = (Passage("prose", (1, 2, 3)), Passage("code", (40, 5)))
    right = hashlib.sha256(b"1,2,3\n40,5").hexdigest()
    assert tokens_sha256(parts) == right == "026f69ffaa669a1975d6e11e2eebdca461f14e7dee873914553cfafadd8e2e8e"
    assert tokens_sha256(cut(tiny, 500)) == tokens_sha256(cut(tiny, 500))
    moved = (Passage("prose", (1, 2)), Passage("code", (3, 40, 5)))
    others = [cut(tiny, 510), cut(tiny, 500, code=["print()" * 100]), moved]
    assert len({tokens_sha256(part) for part in (parts, cut(tiny, 500), *others)}) == 5
