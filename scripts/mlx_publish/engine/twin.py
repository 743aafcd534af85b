"""The twin as mlx-lm computes it: read as a source is read, in float32 on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from numpy.typing import NDArray

from mlx_publish.engine.accounting import account
from mlx_publish.engine.backends import backend
from mlx_publish.engine.loading import fit
from mlx_publish.engine.source_model import load_source
from mlx_publish.errors import Refused

_SINGLE = 8
"""Tokens at the end of a text that are read one by one, as a generation does."""


def twin(folders: Sequence[str], texts: Sequence[Sequence[int]], progress: Callable[[str], None]) -> dict[str, Any]:
    """Let mlx-lm read `texts` with the model in each of `folders`; logits go beside, `FOLDER/mlx.N.npy`.

    Returns for each folder `problems`, why it cannot be read, empty where it can, and `lost`, tensors without a place.
    """
    mx.set_default_device(mx.cpu)
    problems, lost = [], []
    for number, folder in enumerate(folders, 1):
        progress(f"twin {number} of {len(folders)} with MLX")
        problem, names = _compute(Path(folder), texts)
        problems.append(problem)
        lost.append(names)
    return {"problems": problems, "lost": lost}


def _compute(folder: Path, texts: Sequence[Sequence[int]]) -> tuple[str, list[str]]:
    try:
        found = load_source(folder)
        lost: list[str] = list(account(found, json.loads((folder / "config.json").read_text())).unexplained)
        fit(found.model)
        for number, ids in enumerate(texts):
            np.save(folder / f"mlx.{number}.npy", logits(found.model, ids))
    except Refused as error:
        return str(error), []
    except Exception as error:  # noqa: BLE001  a class of mlx-lm raises what it likes
        return f"mlx-lm cannot compute it: {type(error).__name__}: {error}", []
    return "", lost


def logits(model: nn.Module, ids: Sequence[int]) -> NDArray[np.float32]:
    """Logits of every position, (positions, vocabulary): two thirds at once, a part at an offset, the end singly."""
    cache = backend().make_cache(model)
    parts = [model(mx.array([list(part)]), cache=cache)[0] for part in _parts(ids)]
    found: NDArray[np.float32] = np.array(mx.concatenate(parts).astype(mx.float32))
    return found


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    first, second = 2 * len(ids) // 3, len(ids) - _SINGLE
    yield ids[:first]
    if first < second:
        yield ids[first:second]
    for place in range(max(first, second), len(ids)):
        yield ids[place : place + 1]
