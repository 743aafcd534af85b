"""The text of the comparison as ids: how much of each kind, in which windows, by which tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer  # noqa: TID251 -- what the engine hands over
from tokenizers import Tokenizer, processors

from mlx_publish.engine.passages import SHARES, WINDOW, Passage, Texts, passages, tokens_sha256
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


def test_each_kind_has_its_share(tiny: tuple[Path, Any]) -> None:
    parts = cut(tiny, 1000)
    assert by_kind(parts) == {"prose": 400, "code": 200, "dialogue": 200, "scripts": 200}
    assert [part.kind for part in parts] == list(SHARES)
    assert sum(part.positions for part in parts) == 1000 - len(parts)


def test_what_a_kind_cannot_fill_stays_empty(tiny: tuple[Path, Any]) -> None:
    parts = cut(tiny, 1000, prose="The Sun, twice: the Sun.", code="")
    assert by_kind(parts) == {"prose": len(ids_of("The Sun, twice: the Sun.")), "dialogue": 200, "scripts": 200}


def test_long_kinds_are_read_in_windows(tiny: tuple[Path, Any]) -> None:
    text = TEXTS["prose"] * 3
    parts = cut(tiny, 8000, prose=text)
    sizes = [len(part.ids) for part in parts if part.kind == "prose"]
    assert sizes == [WINDOW, WINDOW, WINDOW, 3200 - 3 * WINDOW]
    assert of_kind(parts, "prose") == ids_of(text)[:3200]


@pytest.mark.parametrize(("prose", "sizes"), [(WINDOW + 7, [WINDOW]), (WINDOW + 8, [WINDOW, 8]), (7, []), (8, [8])])
def test_a_window_of_a_few_tokens_tells_nothing(tiny: tuple[Path, Any], prose: int, sizes: list[int]) -> None:
    parts = cut(tiny, 10_000, prose="x" * prose)
    assert [len(part.ids) for part in parts if part.kind == "prose"] == sizes


def test_the_fewest_tokens_of_a_recipe_are_enough_for_something(tiny: tuple[Path, Any]) -> None:
    assert by_kind(cut(tiny, 32)) == {"prose": 13}


def test_the_ids_are_those_of_the_file(tiny: tuple[Path, Any]) -> None:
    parts = passages(tiny[0], Unread(), Texts(**TEXTS), 500)
    for kind in ("prose", "code", "scripts"):
        ids = of_kind(parts, kind)
        assert ids == ids_of(TEXTS[kind])[: len(ids)]


def test_limits_that_stand_in_the_file_do_not_count(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.enable_truncation(10)
    tokenizer.enable_padding(length=2000)
    folder, _ = made(tmp_path / "m", tokenizer=tokenizer)
    parts = passages(folder, Unread(), Texts(**{**TEXTS, "code": "y" * 50}), 500)
    assert by_kind(parts) == {"prose": 200, "code": 50, "dialogue": 100, "scripts": 100}


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
    assert of_kind(parts, "dialogue") == ids_of(2 * rendered)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (None, 'Wer?\n\nIch, "Frank".\n\n'),
        (REFUSING, json.dumps(DIALOGUE, ensure_ascii=False)),
    ],
)
def test_dialogues_are_read_without_a_template_too(tmp_path: Path, template: str | None, text: str) -> None:
    parts = cut(made(tmp_path / "m", template), 2000, dialogue=[DIALOGUE, DIALOGUE])
    assert of_kind(parts, "dialogue") == ids_of(2 * text)


def test_without_the_file_the_class_is_asked(tmp_path: Path) -> None:
    class Letters:
        has_chat_template = False

        def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
            return [1] * add_special_tokens + [ord(letter) for letter in text]

    parts = passages(tmp_path, Letters(), Texts(**{**TEXTS, "dialogue": [DIALOGUE]}), 100)
    assert of_kind(parts, "prose") == [1, *map(ord, TEXTS["prose"][:39])]
    assert of_kind(parts, "dialogue") == list(map(ord, 'Wer?\n\nIch, "Frank".\n\n'[:20]))


def test_the_digest_is_of_the_ids_and_their_windows(tiny: tuple[Path, Any]) -> None:
    parts = (Passage("prose", (1, 2, 3)), Passage("code", (40, 5)))
    right = hashlib.sha256(b"1,2,3\n40,5").hexdigest()
    assert tokens_sha256(parts) == right == "026f69ffaa669a1975d6e11e2eebdca461f14e7dee873914553cfafadd8e2e8e"
    assert tokens_sha256(cut(tiny, 500)) == tokens_sha256(cut(tiny, 500))
    moved = (Passage("prose", (1, 2)), Passage("code", (3, 40, 5)))
    others = [cut(tiny, 510), cut(tiny, 500, code="print()" * 100), moved]
    assert len({tokens_sha256(part) for part in (parts, cut(tiny, 500), *others)}) == 5
