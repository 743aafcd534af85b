"""The twin as the converter's library computes it: read as a source is read, in float32 on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
from mlx import nn
from numpy.typing import NDArray

from mlx_publish.engine.accounting import account
from mlx_publish.engine.backends import SeesPictures, backend, library
from mlx_publish.engine.loading import fit
from mlx_publish.engine.source_model import load_source
from mlx_publish.errors import Refused
from mlx_publish.evidence.proof import TwinRead, TwinsRead
from mlx_publish.model.config import ModelConfig
from mlx_publish.text.progress import Tell

_AS_ONE = frozenset({"paddleocr_vl"})
"""Model types whose patches are those of a prompt: mlx-vlm's processor puts one more axis in front."""
_SINGLE = 8
"""Tokens at the end of a text that are read one by one, as a generation does."""


def twin(folders: Sequence[str], texts: Sequence[Sequence[int]], progress: Tell) -> TwinsRead:
    """Let the library read `texts` with the model in each of `folders`; logits go beside, `FOLDER/mlx.N.npy`.

    Of pictures in `FOLDER/picture.N.npz` they go to `FOLDER/mlx.picture.N.npz`, with what the language model is given.
    """
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
    try:
        for path in sorted(folder.glob("picture.*.npz")):
            np.savez(folder / f"mlx.{path.name}", **_pictured(source.model, dict(np.load(path))))
    except Exception as error:  # noqa: BLE001  see above
        return TwinRead("", lost, f"{type(error).__name__}: {error}")
    return TwinRead("", lost)


def _pictured(model: nn.Module, given: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the logits of every position, and what the language model is given, of a prompt with pictures.

    What stands behind the prompt is computed singly, as a generation does.
    """
    ids, prompt = [int(id_) for id_ in given.pop("ids")], int(given.pop("prompt"))
    inputs = {
        key: mx.array(value[:, :prompt] if key.endswith("token_type_ids") else value) for key, value in given.items()
    }
    if getattr(model.config, "model_type", "") in _AS_ONE and "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"][None]
    inputs["mask"] = mx.ones((1, prompt), dtype=mx.int32)
    pictures, cache = cast("SeesPictures", backend()), backend().make_cache(model)
    first = mx.array([ids[:prompt]])
    embedded = pictures.embedded(model, first, **inputs)["inputs_embeds"][0]
    parts = [pictures.logits(model, first, cache, **inputs)[0]]
    parts += [pictures.later(model, mx.array([[id_]]), cache)[0] for id_ in ids[prompt:]]
    joined = mx.concatenate(parts).astype(mx.float32)
    return {"logits": np.array(joined), "embedded": np.array(embedded.astype(mx.float32))}


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
