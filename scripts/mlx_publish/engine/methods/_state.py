"""How far a training is, in a file: an interrupted run goes on from there, with the same result as one that was not."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

SECONDS = 30.0
"""Between two states that are kept."""
_SHARE = 20
"""Times that writing a state took, after which the next one is written."""
_SUFFIX = ".new.safetensors"


@dataclass(frozen=True)
class State:
    """A training after so many steps."""

    step: int
    before: float
    """The loss on what is held back, before the first step."""
    params: dict[str, Any]
    optimizer: dict[str, Any]


def restored(path: str, inputs: str) -> State | None:
    """Return the state of an interrupted run of the same inputs; None if there is none that can be read."""
    if not path or not Path(path).is_file():
        return None
    try:
        loaded: Any = mx.load(path, return_metadata=True)
        arrays, told = loaded
        if told.get("inputs") != inputs:
            return None
        parts: dict[str, list[tuple[str, mx.array]]] = {"params": [], "optimizer": []}
        for name, array in arrays.items():
            part, _, rest = name.partition(".")
            parts[part].append((rest, array))
        mx.eval(arrays)
        return State(
            int(told["step"]),
            float.fromhex(told["before"]),
            tree_unflatten(parts["params"]),
            tree_unflatten(parts["optimizer"]),
        )
    except (RuntimeError, KeyError, ValueError, OSError):  # half a file, or one of something else
        return None


def saved(path: str, inputs: str) -> Callable[[State], None]:
    """Return what keeps a state where enough time has passed since the last one."""
    next_time = time.monotonic() + SECONDS

    def keep(state: State) -> None:
        nonlocal next_time
        began = time.monotonic()
        if path and began >= next_time:
            _write(Path(path), inputs, state)
            took = time.monotonic() - began
            next_time = time.monotonic() + max(SECONDS, _SHARE * took)

    return keep


def forget(path: str) -> None:
    """Remove the state of what is done, and half of one that was being written."""
    if path:
        Path(path).unlink(missing_ok=True)
        _aside(Path(path)).unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.stem}{_SUFFIX}")


def _write(path: Path, inputs: str, state: State) -> None:
    arrays = {f"params.{name}": array for name, array in tree_flatten(state.params)}
    arrays |= {f"optimizer.{name}": array for name, array in tree_flatten(state.optimizer)}
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _aside(path)
    try:
        mx.save_safetensors(str(new), arrays, {"inputs": inputs, "step": str(state.step), "before": state.before.hex()})
        os.replace(new, path)  # noqa: PTH105  as one step
    finally:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
