"""Conversion: mlx-lm's own model, quantizer and settings; all variants from one reading of the source.

The steps are those of `mlx_lm.convert` (0.32): load lazily, cast, quantize, save. Here the source's arrays are taken
one module at a time, judged, quantized for every variant, written and let go; so the source is read once, whatever
the number of variants, and memory holds one module and not one model.
"""

from __future__ import annotations

import copy
import functools
import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map_with_path, tree_unflatten

from mlx_publish.engine.accounting import account
from mlx_publish.engine.backends import backend
from mlx_publish.engine.casting import TYPES, cast, main_type
from mlx_publish.engine.effective import hyperparameters
from mlx_publish.engine.fidelity import ask_source
from mlx_publish.engine.loading import on_gpu
from mlx_publish.engine.made_on import made_on
from mlx_publish.engine.methods import quantize
from mlx_publish.engine.norms import norms
from mlx_publish.engine.source_model import SourceModel, load_source
from mlx_publish.engine.stream import ShardWriter
from mlx_publish.engine.tokenizing import tokenizer as compare_tokenizers
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import (
    Conversion,
    KeptLayers,
    Routing,
    TokenizerComparison,
    VariantOrder,
    Written,
)
from mlx_publish.model.config import ModelConfig
from mlx_publish.text.progress import Step, Tell

# Sign off, everything from here on is infinity or NaN.
_BITS = {mx.bfloat16: (mx.uint16, 0x7F80), mx.float16: (mx.uint16, 0x7C00), mx.float32: (mx.uint32, 0x7F800000)}


Progress = Tell
Arrays = list[tuple[str, mx.array]]
"""Paths of the model with their arrays."""
AHEAD = 3
"""Modules that are computed while one is written."""


@dataclass
class Output:
    """One variant on its way: its config, its arrays by module, the file that they go to."""

    label: str
    folder: Path
    config: dict[str, Any]
    modules: dict[str, Arrays]
    writer: ShardWriter
    routing: Routing
    kept: KeptLayers
    overflows: str = ""
    """The first tensor that does not fit its type; the variant is not written any further then."""
    zero: list[str] = field(default_factory=list)
    """Weights that are zero all over as they are stored."""

    def written(self, dead: Sequence[str]) -> Written:
        """Return what became of its weights; `dead` are zero all over in the source, too."""
        vanished = [path for path in self.zero if path not in dead]
        return Written(vanished, self.overflows, self.routing, self.kept)


Module = tuple[Arrays, list[tuple[Output, Arrays]]]
"""The source's arrays of one module, and what every variant made of them."""


def convert(
    source: str,
    asked: dict[str, Any],
    variants: Sequence[dict[str, Any]],
    tokenizer: dict[str, Any],
    questions: Sequence[dict[str, Any]],
    reference: dict[str, Any] | None,
    progress: Progress,
) -> Conversion:
    """Convert the folder `source` to every variant; `asked` is the config of the source as its authors wrote it.

    `variants` are the fields of a `VariantOrder` each, `questions` those of a `Question`; `tokenizer` are the arguments
    of `tokenizing.tokenizer`, whose comparison is done meanwhile. With `reference` (`texts`, `tokens` and `store` as
    `fidelity.reference` takes them) the source stays in memory until its logits are stored, so that it need not be
    read again, and with `questions` until it has answered.
    Raises `Refused` if mlx-lm cannot build it, or where a number of the source is none.
    """
    orders = [VariantOrder(**variant) for variant in variants]
    with ThreadPoolExecutor(1) as pool:
        comparing = pool.submit(compare_tokenizers, **tokenizer, progress=lambda _: None)
        model, conversion = _convert(Path(source), asked, orders, progress, keep=bool(reference or questions))
        conversion = replace(conversion, tokenizer=comparing.result())
    if model is None or conversion.tokenizer.error:  # a source that cannot read is judged, and not asked
        return conversion
    folder = tokenizer["plain"] if conversion.tokenizer.plain else tokenizer["folder"]
    read, answers = ask_source(model, source, folder, reference, questions, progress)
    return replace(conversion, reference=read, answers=answers)


def _convert(
    source: Path, asked: dict[str, Any], variants: Sequence[VariantOrder], progress: Progress, *, keep: bool
) -> tuple[nn.Module | None, Conversion]:
    """Write all variants; with `keep` the source's model is handed back whole."""
    progress("building the model")
    built, config = load_source(source), ModelConfig(asked)
    conversion = Conversion(
        hyperparameters(built.model, config),
        account(built, config),
        norms(built.model),
        (),
        {},
        TokenizerComparison(),
        made_on=made_on(),
    )
    streams = _streams()
    outputs = [_output(built, variant, streams) for variant in variants]
    modules = _by_module(built.model)
    built.model.update(tree_map_with_path(lambda _path, _array: mx.array(0), built.model.parameters()))
    built.release()
    kept: Arrays | None = [] if keep else None
    dead = list(_write(modules, outputs, kept, progress))
    whole = [output for output in outputs if not output.overflows]
    for output in whole:
        output.writer.finish()
        backend().save_config(output.config, output.folder / "config.json")
    _tokenizer(source, [output.folder for output in whole])
    if kept is not None:
        built.model.update(tree_unflatten(kept))
    written = {output.label: output.written(dead) for output in outputs}
    return built.model if kept is not None else None, replace(conversion, dead=dead, variants=written)


def _output(source: SourceModel, variant: VariantOrder, streams: Iterator[Any]) -> Output:
    """Set one variant up, lazily; the arrays are the source's, computed only when they are written.

    `streams` are taken in turn, module by module.
    """
    model = source.build()
    dtype = variant.dtype or source.config.get("torch_dtype") or main_type(model)
    routing = cast(model, TYPES[dtype]) if dtype in TYPES else Routing()
    config, kept = copy.deepcopy(source.config), KeptLayers()
    if variant.quantize:
        before = mx.default_stream(mx.default_device())
        try:
            model, config, kept = quantize(model, config, variant, streams)
        finally:
            mx.set_default_stream(before)
    if dtype:
        # The type as it is stored now; the source's other spelling of it goes.
        config["torch_dtype"] = dtype
        config.pop("dtype", None)
    folder = Path(variant.folder)
    modules = _by_module(model)
    planned = [pair for arrays in modules.values() for pair in arrays]
    writer = ShardWriter(folder, planned, backend().parameters(model))
    return Output(variant.label, folder, config, modules, writer, routing, kept)


def _streams() -> Iterator[Any]:
    """Return where modules are computed: on the CPU a stream is a thread, so there is one for each core."""
    if on_gpu():
        return itertools.repeat(mx.default_stream(mx.gpu))
    return itertools.cycle([mx.new_stream(mx.cpu) for _ in range(os.cpu_count() or 1)])


def _by_module(model: nn.Module) -> dict[str, Arrays]:
    """Return arrays by the module that they belong to, in the order of the model."""
    modules: dict[str, Arrays] = {}
    for name, array in tree_flatten(model.parameters()):
        modules.setdefault(name.rpartition(".")[0], []).append((name, array))
    return modules


def _write(
    modules: dict[str, Arrays],
    outputs: Sequence[Output],
    kept: Arrays | None,
    progress: Progress,
) -> Iterator[str]:
    """Take module after module: judge it, make it for each variant, write it, forget it. Yields dead weights.

    While one module is written, the next ones are computed already. With `kept` the source's arrays go there.
    """
    waiting: deque[Module] = deque()
    what = f"converting {', '.join(output.label for output in outputs)}"
    total, done = sum(array.nbytes for arrays in modules.values() for _, array in arrays), 0
    for name in list(modules):
        progress(Step(what, done, total))
        arrays = modules.pop(name)
        done += sum(array.nbytes for _, array in arrays)
        made = [(output, output.modules.pop(name)) for output in outputs]
        # The source's arrays come along; asked for themselves, they would hold the streams up until they are read.
        mx.async_eval([[array for _, array in pairs] for _, pairs in made])
        waiting.append((arrays, made))
        del arrays, made
        if len(waiting) > AHEAD:
            yield from _write_module(*waiting.popleft(), kept)
    while waiting:
        yield from _write_module(*waiting.popleft(), kept)


def _write_module(arrays: Arrays, made: Sequence[tuple[Output, Arrays]], kept: Arrays | None) -> Iterator[str]:
    yield from (path for path, array in arrays if _is_zero(path, array))
    for output, pairs in made:
        for path, array in pairs:
            largest = _largest(array)
            if not output.overflows and not _is_finite(array, largest):
                output.overflows = path
            if array.ndim > 1 and path.endswith(".weight") and largest == 0:
                output.zero.append(path)
            if not output.overflows:
                output.writer.write(path, array)
    if kept is not None:
        kept.extend(arrays)


def _is_zero(path: str, array: mx.array) -> bool:
    """Return whether a weight is zero all over. Raises `Refused` if one of its numbers is none."""
    largest = _largest(array)
    if not _is_finite(array, largest):
        raise Refused(
            f"the source's {path} contains NaN or infinity", check="numbers-finite", remedy="Choose another source."
        )
    return array.ndim > 1 and largest == 0


def _is_finite(array: mx.array, largest: int) -> bool:
    return array.dtype not in _BITS or largest < _BITS[array.dtype][1]


def _largest(array: mx.array) -> int:
    """Return the largest magnitude as bits: without their signs, floats sort as the integers of the same bits do."""
    if array.dtype not in _BITS or array.size == 0:
        return 1
    bits = _BITS[array.dtype][0]
    with mx.stream(_judging()):
        unsigned = mx.array((1 << 8 * array.itemsize - 1) - 1, bits)
        largest: Any = mx.max(mx.bitwise_and(mx.view(array, bits), unsigned)).item()
    return int(largest)


@functools.cache
def _judging() -> Any:
    """Return a stream of its own: a look at one module must not wait for those that are computed ahead."""
    return mx.default_stream(mx.gpu) if on_gpu() else mx.new_stream(mx.cpu)


def _tokenizer(source: Path, folders: Sequence[Path]) -> None:
    """Write a tokenizer.json where the source has only older files; all else is carried over by the caller."""
    if (source / "tokenizer.json").exists():
        return
    try:
        tokenizer = backend().load_tokenizer(source)
    except Exception:  # noqa: BLE001  the comparison of the tokenizers meets it, too, and reports it
        return
    for folder in folders:
        tokenizer.save_pretrained(folder)
