"""A converted model is read once for its answers, the comparison and the benchmark, where memory allows."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what a model computes is compared
import mlx_lm  # noqa: TID251
import pytest
from mlx.utils import tree_flatten  # noqa: TID251

from mlx_publish.context import Context
from mlx_publish.engine import held, loading
from mlx_publish.engine.held import Held, keep_only, pack_held, packed, unpacked
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.source import bounds
from mlx_publish.stages import STAGES
from mlx_publish.stages.runner import run_stages
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import answer_table, make_model, make_scripted
from pipeline import QUICK, write_recipe

IN_OPEN = 0x20


@pytest.fixture(autouse=True)
def none_held() -> Iterator[None]:
    yield
    keep_only("")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were loaded, on a CPU with a fast BLAS."""
    folders: list[str] = []

    def load(folder: str) -> tuple[Any, Any, str]:
        folders.append(Path(folder).name)
        return loading.load_model(folder)

    monkeypatch.setattr(held, "load_model", load)
    monkeypatch.setattr(held, "fast_blas_in_front", lambda: True)
    return folders


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held")
    mlx_lm.convert(str(make_model(folder / "source")), str(folder / "m"), quantize=True, q_bits=4, q_group_size=32)
    return folder / "m"


def names(model: Held) -> set[str]:
    return {path for path, _ in tree_flatten(model.model.parameters())}


def logits(model: Held) -> mx.array:
    computed: mx.array = model.model(mx.array([[5, 6, 7, 8]]))
    return computed


def test_the_packed_model_is_the_same_after_it_was_unpacked(four_bits: Path, loads: list[str]) -> None:
    before = packed(str(four_bits))
    parts, said = names(before), logits(before)
    assert any(name.endswith("scales") for name in parts)
    wide = unpacked(str(four_bits))
    assert not any(name.endswith("scales") for name in names(wide))
    assert mx.allclose(logits(wide), said, rtol=1e-3, atol=1e-4)
    again = packed(str(four_bits))
    assert (names(again), mx.array_equal(logits(again), said).item()) == (parts, True)
    assert loads == ["m"]


def test_unpacked_weights_are_let_go_before_memory_is_measured(four_bits: Path, loads: list[str]) -> None:
    packed(str(four_bits))
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.eval(unpacked(str(four_bits)).model.parameters())
    assert mx.get_active_memory() > before
    pack_held()
    assert mx.get_active_memory() == before


def test_another_folder_and_another_file_are_another_model(four_bits: Path, tmp_path: Path, loads: list[str]) -> None:
    mine, other = (shutil.copytree(four_bits, tmp_path / name) for name in ("mine", "other"))
    for folder in (mine, mine, other, mine):
        packed(str(folder))
    assert loads == ["mine", "other", "mine"]
    os.utime(mine / "config.json", (1, 1))
    unpacked(str(mine))
    assert loads == ["mine", "other", "mine", "mine"]
    keep_only(str(mine))
    assert held.holds() == str(mine)
    keep_only(str(other))
    assert held.holds() == ""


class Opened:
    """Counts how often files are opened, by any process, as the kernel tells."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._queue = self._libc.inotify_init1(0)
        self._watched: dict[int, str] = {}
        self.counts = Counter[str]()
        # Two events in a row that are alike become one, unless somebody reads them.
        threading.Thread(target=self._read, daemon=True).start()

    def watch(self, path: Path, name: str) -> None:
        self._watched[self._libc.inotify_add_watch(self._queue, os.fsencode(path), IN_OPEN)] = name

    def _read(self) -> None:
        while events := os.read(self._queue, 1 << 16):
            while events:
                number, _, _, length = struct.unpack_from("iIII", events)
                self.counts[self._watched[number]] += 1
                events = events[16 + length :]


def measured(folder: Path, **keys: Any) -> Callable[[], Counter[str]]:
    """Convert two variants of a model; returns what measures them and counts how often their weights are opened."""
    make_scripted(folder / "m", answer_table())
    accepted = [{"check": check, "reason": "its weights are random"} for check in ("answers", "same-first-choice")]
    write_recipe(folder / "m.yaml", source="./m", variants=["4bit", "8bit"], accept=accepted, **QUICK, **keys)

    def run(last: str) -> None:
        recipe, names = recipe_from_file(folder / "m.yaml"), [stage.name for stage in STAGES]
        stages = STAGES[: names.index(last) + 1]
        work, planned = Work(folder / "work", recipe.name), frozenset(stage.name for stage in stages)
        context = Context(recipe, recipe.variants, work, Console(io.StringIO()), planned=planned)
        assert run_stages(context, stages) == ()

    def counted() -> Counter[str]:
        opened, work = Opened(), Work(folder / "work", "m")
        for label in ("4bit", "8bit"):
            work.digests(work.model(label))
            opened.watch(work.model(label) / "model.safetensors", label)
        run("benchmark")
        return opened.counts

    run("convert")
    return counted


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_weights_are_opened_once_for_answers_comparison_and_benchmark(tmp_path: Path) -> None:
    assert measured(tmp_path)() == {"4bit": 1, "8bit": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_where_memory_is_short_a_model_is_read_for_each_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measured(tmp_path)
    one_child = 2 * bounds._LIBRARIES / bounds._STAYING
    monkeypatch.setenv("MLX_PUBLISH_MEMORY_BYTES", str(int(1.9 * one_child)))
    assert run() == {"4bit": 1, "8bit": 3}
