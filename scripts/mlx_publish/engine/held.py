"""The converted model of the last job, which stays in memory for the next one: its files are read once.

On the CPU the answers and the comparison take unpacked weights, and the benchmark packed ones, as users do. The packed
ones stay beside the unpacked, which are made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx import nn
from mlx.utils import tree_unflatten

from mlx_publish.engine.backends import backend
from mlx_publish.engine.loading import fast_blas_in_front, fit, load_model, warnings_of_loading

_Files = tuple[tuple[str, int, int, int], ...]
_held: list[Held] = []
"""One at most."""


@dataclass
class Held:
    """A converted model in memory."""

    folder: Path
    files: _Files
    """Names, sizes, times and numbers of its files; another one is another model."""
    model: Any
    tokenizer: Any
    """As `Backend.load` returns it."""
    computed_in: str
    warnings: Sequence[str]
    """What libraries printed while they loaded it."""
    packed: tuple[tuple[str, nn.Module], ...] = ()
    """The modules, by their paths, in whose places there are unpacked ones."""

    def unpack(self) -> None:
        """Unpack the weights where a fast BLAS makes more of them than the kernels for packed ones do."""
        if self.packed or not fast_blas_in_front():
            return
        before = dict(self.model.named_modules())
        self.model = backend().dequantize(self.model)
        fit(self.model)  # modes with small floats give bfloat16, which holds them
        after = dict(self.model.named_modules())
        self.packed = tuple((path, module) for path, module in before.items() if after.get(path) is not module)

    def pack(self) -> None:
        """Put the packed weights back; the unpacked ones go."""
        if self.packed:
            self.model.update_modules(tree_unflatten(list(self.packed)))
            self.packed = ()


def unpacked(folder: str) -> Held:
    """Return the model of a folder for answers and comparisons."""
    model = _model_of(Path(folder))
    model.unpack()
    return model


def packed(folder: str) -> Held:
    """Return the model of a folder as its users have it."""
    model = _model_of(Path(folder))
    model.pack()
    return model


def keep_only(folder: str) -> None:
    """Let go of the model, unless it is that of `folder`."""
    if _held and (str(_held[0].folder) != folder or _held[0].files != _files(_held[0].folder)):
        _held.clear()


def pack_held() -> None:
    """Let go of unpacked weights, before memory is measured."""
    for model in _held:
        model.pack()


def holds() -> str:
    """Return the folder whose model is in memory; empty if there is none."""
    return str(_held[0].folder) if _held else ""


def _model_of(folder: Path) -> Held:
    keep_only(str(folder))
    if not _held:
        files = _files(folder)
        with warnings_of_loading() as warnings:
            model, tokenizer, computed_in = load_model(str(folder))
        _held.append(Held(folder, files, model, tokenizer, computed_in, warnings))
    return _held[0]


def _files(folder: Path) -> _Files:
    stats = sorted((path.name, path.stat()) for path in folder.glob("*"))
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)
