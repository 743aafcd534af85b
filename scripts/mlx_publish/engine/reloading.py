"""What users load is what was written: mlx-vlm's loader sanitizes names and arrays of a converted folder once more.

A convolution whose sides are alike would be turned twice, a head written over by the embedding, a norm shifted again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_publish.engine.backends import backend
from mlx_publish.engine.graph import Graph
from mlx_publish.engine.source_model import load_source
from mlx_publish.engine.tensor_files import evaluate
from mlx_publish.model.files import FolderFiles, read_json_file
from mlx_publish.model.senses import LANGUAGE, senses_in

_NAMED = 8
"""Parameters that are named."""
_TOKEN = re.compile(r"^(image|video|audio|vision|boi|eoi|boa|eoa)\w*_token_(id|index)$")
_LONGEST = 300
"""Characters of what the loader says."""


def otherwise(folder: Path) -> tuple[str, ...]:
    """Return what the library's own loader makes otherwise of a folder than was written, in words; empty for nothing.

    A parameter that is the very array of its file is not read; any other one is compared bit by bit.
    """
    library: Any = backend()
    try:
        written, model = library.load_again(folder)
    except Exception as error:  # noqa: BLE001  a class raises what it likes
        words = " ".join(str(error).split())[:_LONGEST]
        return (f"it cannot be loaded: {type(error).__name__}: {words}",)
    loaded = dict(tree_flatten(model.parameters()))
    differing = sorted(_differing(written, loaded))
    return tuple(differing[:_NAMED])


def _differing(written: dict[str, mx.array], loaded: dict[str, mx.array]) -> Iterator[str]:
    for name in written.keys() - loaded.keys():
        yield f"{name[:200]} is left out"
    graph = Graph({f"loaded {path}": array for path, array in loaded.items()})
    for path, array in loaded.items():
        own = written.get(path)
        if own is None:
            yield f"{path[:200]} is not in the files"
        elif own is array and graph.made_by(graph.key(array)).name == "Load":
            continue
        elif own.shape != array.shape or own.dtype != array.dtype:
            yield f"{path[:200]} becomes {array.dtype} {list(array.shape)} of {own.dtype} {list(own.shape)}"
        elif not _same(own, array):
            yield f"{path[:200]} has other numbers"


def _same(own: mx.array, other: mx.array) -> bool:
    evaluate([own, other])
    return bool(mx.array_equal(own, other, equal_nan=True).item())


def unlike(source: Path, folder: Path) -> tuple[str, ...]:
    """Return what of the parts that are no language model the files hold otherwise than the source, in words.

    A quantized layer is passed over; one of another type is compared with the source's numbers in this type.
    """
    built = load_source(source)
    own = dict(tree_flatten(built.model.parameters()))
    written: dict[str, mx.array] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        written.update(cast("dict[str, mx.array]", mx.load(str(path))))
    said = read_json_file(FolderFiles(folder), "config.json") or {}
    found = itertools.chain(_unlike(own, written), _said_otherwise(built.config, said))
    return tuple(itertools.islice(found, _NAMED))


def _unlike(own: dict[str, mx.array], written: dict[str, mx.array]) -> Iterator[str]:
    for path, array in own.items():
        made = written.get(path)
        if path.startswith(LANGUAGE) or f"{path.rpartition('.')[0]}.scales" in written:
            continue
        if made is None:
            yield f"{path[:200]} of the source is not in the files"
        elif made.shape != array.shape or not _same(array.astype(made.dtype), made):
            yield f"{path[:200]} has other numbers than the source's"
        elif made.dtype != array.dtype and not mx.isfinite(made).all().item():
            yield f"{path[:200]} has numbers that {made.dtype} cannot hold"


def _said_otherwise(own: Mapping[str, object], said: Mapping[str, object]) -> Iterator[str]:
    """Yield what config.json says otherwise of an encoder, or of the tokens in whose places its features stand."""
    parts: dict[str, tuple[Mapping[str, object], Mapping[str, object]]] = {"": (own, said)}
    for key in senses_in(own):
        before, after = own[key], said.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            parts[f"{key}."] = before, after
    for prefix, (before, after) in parts.items():
        for key in before.keys() & after.keys():
            of_it = type(before[key]) is int if prefix else _TOKEN.search(key)
            if of_it and before[key] != after[key]:
                now, then = str(after[key])[:40], str(before[key])[:40]
                yield f"{prefix}{key[:100]} is {now} in config.json, and {then} was read"
