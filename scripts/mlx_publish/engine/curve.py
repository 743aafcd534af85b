"""The curve of plain rounding: a source as the converter would round it to each width, which reads the same text.

Nothing is written but what was measured. The arithmetic is that of a converted folder: rounded on the CPU, cast, and
unpacked where that is faster.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from mlx_publish.engine.backends import backend
from mlx_publish.engine.casting import cast_as_stored
from mlx_publish.engine.divergence import gathered
from mlx_publish.engine.loading import fast_blas_in_front, fit
from mlx_publish.engine.logits_store import as_arrays, logits_of, read_logits, read_passages
from mlx_publish.engine.methods import quantize
from mlx_publish.engine.parameters import in_memory
from mlx_publish.engine.source_model import SourceModel, load_source
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.evidence.quantization import RoundingPoint
from mlx_publish.evidence.rounding import RoundingCurve, Width
from mlx_publish.text.progress import Step, Tell, counted


def curve(
    source: str,
    store: str,
    into: str,
    forms: Sequence[Sequence[dict[str, Any]]],
    targets: Sequence[int],
    known: Sequence[str],
    progress: Tell,
) -> RoundingCurve:
    """Measure plain rounding of the model in `source` at the neighbours of each of `targets`, in bytes of weights.

    `store` has the source's logits. `forms` are the widths, smallest first, the fields of a `VariantOrder` each; of
    several lists, by group size, that counts which gets the model smallest: a larger group may leave rows whole that it
    does not divide. What is `known` is not measured again. The values of LABEL go to LABEL.npz in the folder `into`.
    """
    progress("loading the source")
    loaded = load_source(Path(source))
    orders, widths = _widths(loaded, [[VariantOrder(**form) for form in group] for group in forms])
    whole = RoundingCurve(widths)
    wanted = {width.label for target in targets for width in whole.neighbours(target)} - {*known}
    if not wanted:
        return whole
    Path(into).mkdir(parents=True, exist_ok=True)
    config = loaded.config
    model = in_memory(loaded)
    points: dict[str, RoundingPoint] = {}
    sha256: dict[str, str] = {}
    asked = [width for width in widths if width.label in wanted]
    for width in asked:
        path = Path(into) / f"{width.label}.npz"
        point = _measured(model, config, orders[width.label], width, Path(store), path, progress)
        if math.isfinite(point.mean_kld):
            points[width.label], sha256[width.label] = point, sha256_of(path)
    return RoundingCurve(widths, points, sha256, [width.label for width in asked if width.label not in points])


def _widths(
    loaded: SourceModel, forms: Sequence[Sequence[VariantOrder]]
) -> tuple[dict[str, VariantOrder], Sequence[Width]]:
    """Return the orders of the widths that count, by label, and their sizes; no weight is read."""
    measured = [[_width(loaded, order) for order in group] for group in forms]
    chosen = min(range(len(forms)), key=lambda number: measured[number][0].weight_bytes)
    return {order.label: order for order in forms[chosen]}, measured[chosen]


def _width(loaded: SourceModel, order: VariantOrder) -> Width:
    model = loaded.build()
    parameters = sum(array.size for _, array in tree_flatten(model.parameters()))
    _round(model, loaded.config, order)
    weight_bytes = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
    return Width(order.label, weight_bytes, round(8 * weight_bytes / max(parameters, 1), 4))


def _round(model: nn.Module, config: dict[str, Any], order: VariantOrder) -> None:
    """Cast and quantize a model in its place, lazily, as a conversion does."""
    cast_as_stored(model, order.dtype, config)
    quantize(model, copy.deepcopy(config), order, itertools.repeat(mx.default_stream(mx.cpu)))


@contextmanager
def _rounded(model: nn.Module, config: dict[str, Any], order: VariantOrder) -> Iterator[Any]:
    """Yield the model of a source as its converted folder would be loaded; afterwards it is the source's again."""
    modules, arrays = dict(model.named_modules()), tree_flatten(model.parameters())
    device = mx.default_device()
    try:
        mx.set_default_device(mx.cpu)  # a GPU gives other bytes
        _round(model, config, order)
        for _, array in tree_flatten(model.parameters()):
            mx.eval(array)  # one at once, so that what it is made of can go
        mx.set_default_device(device)
        fit(model)
        if fast_blas_in_front():
            fit(backend().dequantize(model))
        yield model
    finally:
        mx.set_default_device(device)
        now = dict(model.named_modules())
        model.update_modules(tree_unflatten([(path, of) for path, of in modules.items() if now.get(path) is not of]))
        model.update(tree_unflatten(arrays))


def _measured(
    model: nn.Module,
    config: dict[str, Any],
    order: VariantOrder,
    width: Width,
    store: Path,
    path: Path,
    progress: Tell,
) -> RoundingPoint:
    """Let a width read the text, and keep its values in a file."""
    parts = read_passages(store)
    step = Step(f"running plain {order.label}", 0, sum(part.positions for part in parts), "tokens")
    with _rounded(model, config, order) as rounded:
        ours = as_arrays(counted(logits_of(rounded, parts), len, progress, step))
        values = gathered([(part.kind, part.ids) for part in parts], read_logits(store), ours)
    values.save(path)
    return RoundingPoint(
        width.label,
        width.weight_bytes,
        width.bits_per_weight,
        float(np.mean(np.asarray(values.kld))),
        float(np.mean(np.asarray(values.same))),
    )
