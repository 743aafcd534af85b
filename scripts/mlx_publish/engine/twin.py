"""The twin as mlx-lm computes it: read as a source is read, in float32 on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx import nn
from numpy.typing import NDArray

from mlx_publish.engine.accounting import account
from mlx_publish.engine.backends import backend, library
from mlx_publish.engine.loading import fit
from mlx_publish.engine.source_model import load_source
from mlx_publish.errors import Refused
from mlx_publish.evidence.proof import TwinRead, TwinsRead
from mlx_publish.model.config import ModelConfig
from mlx_publish.text.progress import Tell

_SINGLE = 8
"""Tokens at the end of a text that are read one by one, as a generation does."""


def twin(folders: Sequence[str], texts: Sequence[Sequence[int]], progress: Tell) -> TwinsRead:
    """Let mlx-lm read `texts` with the model in each of `folders`; logits go beside, `FOLDER/mlx.N.npy`."""
    mx.set_default_device(mx.cpu)
    twins = []
    for number, folder in enumerate(folders, 1):
        progress(f"twin {number} of {len(folders)} with MLX")
        twins.append(_read(Path(folder), texts))
    return TwinsRead(twins)


def _read(folder: Path, texts: Sequence[Sequence[int]]) -> TwinRead:
    try:
        source = load_source(folder)
        lost = account(source, ModelConfig(json.loads((folder / "config.json").read_text()))).unexplained
        fit(source.model)
        for number, ids in enumerate(texts):
            np.save(folder / f"mlx.{number}.npy", logits(source.model, ids))
    except Refused as error:
        return TwinRead(str(error), ())
    except Exception as error:  # noqa: BLE001  a class of mlx-lm raises what it likes
        return TwinRead(f"{library()} cannot compute it: {type(error).__name__}: {error}", ())
    return TwinRead("", lost)


def logits(model: nn.Module, ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the logits of every position, (positions, vocabulary).

    They are computed of two thirds at once, of a part at an offset, and singly of the end, as a generation does.
    """
    cache = backend().make_cache(model)
    parts = [model(mx.array([list(part)]), cache=cache)[0] for part in _parts(ids)]
    joined: NDArray[np.float32] = np.array(mx.concatenate(parts).astype(mx.float32))
    return joined


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    first, second = 2 * len(ids) // 3, len(ids) - _SINGLE
    yield ids[:first]
    if first < second:
        yield ids[first:second]
    for place in range(max(first, second), len(ids)):
        yield ids[place : place + 1]
