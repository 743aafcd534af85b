"""Logits on disk: the same as in memory, of a bounded size, and whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- a model is asked the plain way
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache  # noqa: TID251

from gate import loaded
from mlx_publish.engine import logits_store
from mlx_publish.engine.fidelity import ReferenceOrder, reference_of
from mlx_publish.engine.logits_store import (
    CHUNK,
    LIMIT,
    as_arrays,
    logits_of,
    read_logits,
    read_passages,
    tokens_within,
    write_store,
)
from mlx_publish.engine.passages import Passage, Texts
from mlx_publish.source.logits import texts
from models import make_model
from pipeline import digests, leftovers

VOCABULARY = 320
WINDOW = 100
WINDOWED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
PARTS = (Passage("prose", tuple(range(3, 280))), Passage("code", (4, 5)), Passage("prose", tuple(range(200, 3, -1))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("store") / "m")


@pytest.fixture
def model(folder: Path) -> Any:
    return loaded(folder)[0]


class Failing:
    """A model that answers with its ids so many times, and then no more."""

    layers = ()

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, ids: mx.array, cache: object = None) -> mx.array:
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("[write] Unable to write")
        return mx.broadcast_to(ids[..., None], (*ids.shape, 8))


def test_what_is_read_back_is_what_the_model_said(model: Any, tmp_path: Path) -> None:
    write_store(tmp_path / "store", model, PARTS)
    assert read_passages(tmp_path / "store") == PARTS
    stored = list(read_logits(tmp_path / "store"))
    computed = list(as_arrays(logits_of(model, PARTS)))
    assert [piece.shape for piece in stored] == [
        (CHUNK, VOCABULARY),
        (20, VOCABULARY),
        (1, VOCABULARY),
        (196, VOCABULARY),
    ]
    assert {str(piece.dtype) for piece in stored} == {"float32"}
    assert all(np.array_equal(piece, expected) for piece, expected in zip(stored, computed, strict=True))


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("llama", {}),
        ("gemma2", {}),
        ("qwen3", {}),
        ("llama", WINDOWED),
        ("mistral", WINDOWED),
    ],
)
def test_pieces_are_the_model_read_in_one_go(tmp_path: Path, arch: str, config: dict[str, Any]) -> None:
    """So it is with a window that is shorter than a piece, too."""
    model, _ = loaded(make_model(tmp_path / "m", arch, config=config))
    model.set_dtype(mx.float32)
    windows = {getattr(layer, "max_size", None) for layer in make_prompt_cache(model)}
    assert windows == ({WINDOW, None} if config else {None})
    ids = tuple(np.random.default_rng(1).integers(3, 280, 2 * CHUNK + 40).tolist())
    pieces = list(as_arrays(logits_of(model, [Passage("prose", ids)])))
    whole = np.array(model(mx.array([ids]))[0, :-1])
    assert [len(piece) for piece in pieces] == [CHUNK, CHUNK, 39]
    assert np.abs(np.concatenate(pieces) - whole).max() < 1e-4 * np.abs(whole).max()


def test_many_pieces_keep_their_order(tmp_path: Path) -> None:
    parts = [Passage("prose", (number, 0)) for number in range(120)]
    write_store(tmp_path / "store", Failing(120), parts)
    assert [int(piece[0, 0]) for piece in read_logits(tmp_path / "store")] == list(range(120))


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_failure_leaves_the_old_store(model: Any, tmp_path: Path, calls: int) -> None:
    write_store(tmp_path / "store", model, PARTS)
    before = digests(tmp_path)
    with pytest.raises(RuntimeError, match="Unable"):
        write_store(tmp_path / "store", Failing(calls), PARTS)
    assert digests(tmp_path) == before
    assert not leftovers(tmp_path)


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Unable"):
        write_store(tmp_path / "source" / "store", Failing(1), PARTS)
    assert not list((tmp_path / "source").iterdir())


def test_a_new_store_takes_the_place_of_the_old_and_of_what_was_left(model: Any, tmp_path: Path) -> None:
    write_store(tmp_path / "store", model, PARTS)
    left = tmp_path / ".store.new-store"
    left.mkdir()
    (left / "00000.safetensors").write_text("half")
    write_store(tmp_path / "store", model, PARTS[1:2])
    assert {path.name for path in tmp_path.rglob("*")} == {"store", "passages.json", "00000.safetensors"}
    assert read_passages(tmp_path / "store") == PARTS[1:2]


@pytest.mark.parametrize(
    ("vocabulary", "asked", "read"),
    [
        (32_000, 4096, 4096),
        (262_144, 4096, 4096),
        (262_144, 65_536, LIMIT // 4 // 262_144),
        (0, 10, 10),
        (1, 5, 5),
    ],
)
def test_as_many_tokens_as_there_is_room_for(vocabulary: int, asked: int, read: int) -> None:
    assert tokens_within(vocabulary, asked) == read
    assert 4 * vocabulary * read <= LIMIT


@pytest.mark.parametrize("tokens", [100, 150, 400])
def test_the_store_is_bounded_and_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    """The model has more logits than its tokenizer has tokens, and they take their room as well."""
    room = 4 * VOCABULARY * 150
    monkeypatch.setattr(logits_store, "LIMIT", room)
    model, tokenizer = loaded(folder)
    order = ReferenceOrder(Texts(**texts()), tokens, tmp_path / "store")
    read = reference_of(model, tokenizer, folder, order, "float32", lambda _: None)
    parts, stored = read_passages(tmp_path / "store"), list(read_logits(tmp_path / "store"))
    assert read.limited is (tokens > 150)
    assert read.positions == sum(part.positions for part in parts) == sum(map(len, stored))
    assert sum(len(part.ids) for part in parts) == min(tokens, 150)
    assert sum(piece.nbytes for piece in stored) <= room
