"""Conversion: mlx-lm's own model and settings; all variants from one reading of the source, on the CPU.

The steps are those of `mlx_lm.convert` (0.32): load lazily, cast, quantize, save. Here the source is read a few rows at
a time, judged, made for every variant and let go; so it is read once, whatever the number of variants, and memory holds
a few rows for each core and not one model. Nothing of it is computed on a GPU, whose bytes would be others.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_map_with_path, tree_unflatten

from mlx_publish.engine.accounting import account
from mlx_publish.engine.backends import backend, keeps_senses
from mlx_publish.engine.casting import cast_as_stored
from mlx_publish.engine.derived import packed_of
from mlx_publish.engine.effective import hyperparameters
from mlx_publish.engine.fidelity import ask_source
from mlx_publish.engine.learning import learned, learns
from mlx_publish.engine.made_on import made_on
from mlx_publish.engine.making import Piece, Way, by_importance, cores, is_bound, judged, make, references, ways
from mlx_publish.engine.methods import quantize
from mlx_publish.engine.norms import norms
from mlx_publish.engine.parameters import Parameters
from mlx_publish.engine.reading_proof import prove
from mlx_publish.engine.reloading import otherwise, unlike
from mlx_publish.engine.repacking import by_repacking, told
from mlx_publish.engine.rows import INTEGERS, Bits, ComputedRows, Rows, bits_of, count, pieces
from mlx_publish.engine.source_model import SourceModel, load_source
from mlx_publish.engine.stream import ShardWriter
from mlx_publish.engine.streaming_arrivals import Stream
from mlx_publish.engine.tokenizing import tokenizer as compare_tokenizers
from mlx_publish.engine.towers import told as told_of_towers
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import (
    Conversion,
    KeptLayers,
    Repacked,
    Routing,
    TokenizerComparison,
    Towers,
    VariantOrder,
    Written,
)
from mlx_publish.model.config import ModelConfig
from mlx_publish.text.progress import Step, Tell

if TYPE_CHECKING:
    from typing_extensions import Self

Progress = Tell
_INTERVAL = 1e-5
"""Seconds after which a thread hands Python's lock over to one that waits."""
AHEAD = 2
"""Pieces that wait beside those that the cores work on."""


@dataclass
class Output:
    """One variant on its way: its config, what it makes of each parameter, the files that its tensors go to."""

    label: str
    folder: Path
    config: dict[str, Any]
    ways: dict[str, Way]
    whole: dict[str, list[tuple[str, mx.array]]]
    """By module: arrays that something else is done to than is known by rows; they are computed as the library does."""
    writer: Writer
    routing: Routing
    kept: KeptLayers
    repacked: Repacked | None = None
    """What of the source's quantized weights is not repacked."""
    towers: Towers | None = None
    made_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By module of `whole`: the source's parameters that its arrays are computed of."""
    overflows: str = ""
    """The first tensor that does not fit its type; the variant is not written any further then."""
    zero: dict[str, bool] = field(default_factory=dict)
    """Weights, and whether they are zero all over as they are stored so far."""

    def take(self, piece: Piece, *, matrix: bool) -> None:
        """Write rows of a tensor."""
        if not self.overflows and not piece.finite and not is_bound(piece.name, piece):
            self.overflows = piece.name
        if matrix and piece.name.endswith(".weight"):
            self.zero[piece.name] = self.zero.get(piece.name, True) and piece.largest == 0
        if not self.overflows:
            self.writer.write(piece.name, piece.bits)

    def written(self, dead: Sequence[str]) -> Written:
        """Return what became of its weights; `dead` are zero all over in the source, too."""
        vanished = [path for path, zero in self.zero.items() if zero and path not in dead]
        repacked = told(self.repacked, self.ways.values())
        digests = self.writer.sha256
        return Written(
            vanished, self.overflows, self.routing, self.kept, digests, repacked=repacked, towers=self.towers
        )


def convert(
    source: str,
    asked: dict[str, Any],
    variants: Sequence[dict[str, Any]],
    tokenizer: dict[str, Any],
    questions: Sequence[dict[str, Any]],
    reference: dict[str, Any] | None,
    progress: Progress,
    stream: dict[str, Any] | None = None,
) -> Conversion:
    """Convert the folder `source` to every variant; `asked` is the config of the source as its authors wrote it.

    `variants` are the fields of a `VariantOrder` each, `questions` those of a `Question`; `tokenizer` are the arguments
    of `tokenizing.tokenizer`, whose comparison is done meanwhile. With `reference` (`texts`, `tokens` and `store` as
    `fidelity.reference` takes them) the source stays in memory until its logits are stored, so that it need not be
    read again, and with `questions` until it has answered. With `stream`, the fields of a `Stream`, the source arrives
    while it is converted, and nothing of it can be asked.
    Raises `Refused` if mlx-lm cannot build it, or where a number of the source is none.
    """
    orders = [VariantOrder(**variant) for variant in variants]
    device, interval = mx.default_device(), sys.getswitchinterval()
    mx.set_default_device(mx.cpu)
    # The comparison of the tokenizers is Python's work: each of numpy's short calls would wait for it for 5 ms.
    sys.setswitchinterval(_INTERVAL)
    try:
        with ThreadPoolExecutor(1) as pool:
            comparing = pool.submit(compare_tokenizers, **tokenizer, progress=lambda _: None)
            if stream:
                model, conversion = None, _streamed(Path(source), asked, orders, stream, progress)
            else:
                keep = bool(reference or questions)
                model, conversion = _convert(Path(source), asked, orders, progress, keep=keep)
            # Behind the others, whose reading judges the source: its numbers are finite.
            taught = {
                order.label: learned(Path(source), order, conversion.dead, device, progress)
                for order in orders
                if learns(order)
            }
            conversion = replace(conversion, variants={**conversion.variants, **taught})
            folders = [Path(order.folder) for order in orders]
            _tokenizer(Path(source), folders)
            conversion = replace(conversion, tokenizer=comparing.result())
            if keeps_senses():
                progress("loading what was written, as its users do")
                conversion = replace(conversion, variants=_loaded_again(Path(source), conversion.variants, orders))
    finally:
        sys.setswitchinterval(interval)
        mx.set_default_device(device)  # what is measured is measured where users compute
    if model is None or conversion.tokenizer.error:  # a source that cannot read is judged, and not asked
        return conversion
    folder = tokenizer["plain"] if conversion.tokenizer.plain else tokenizer["folder"]
    read, answers = ask_source(model, source, folder, reference, questions, progress)
    return replace(conversion, reference=read, answers=answers)


def _loaded_again(source: Path, written: Mapping[str, Written], orders: Sequence[VariantOrder]) -> dict[str, Written]:
    """Return what is known of variants, with what the library's loader makes otherwise of those that are whole."""
    whole = {order.label: Path(order.folder) for order in orders if (Path(order.folder) / "config.json").exists()}
    return {
        label: replace(own, reloaded=otherwise(whole[label]) + unlike(source, whole[label])) if label in whole else own
        for label, own in written.items()
    }


def _streamed(
    source: Path, asked: dict[str, Any], orders: Sequence[VariantOrder], stream: dict[str, Any], progress: Progress
) -> Conversion:
    from mlx_publish.engine.streaming import streamed  # noqa: PLC0415  it builds on what is here

    if learning := [order.label for order in orders if learns(order)]:
        raise Refused(
            f"{learning[0]} learns of the whole source, which is never there at once",
            check="converts",
            remedy="Set `stream: false`, or take another variant.",
        )
    return streamed(source, asked, orders, Stream(**stream), progress)


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
    with ExitStack() as stack:
        parameters = Parameters(built)
        outputs = [_output(built, variant, parameters) for variant in variants if not learns(variant)]
        for output in outputs:
            stack.enter_context(output.writer)
        if any(map(packed_of, built.files.derived.values())):
            progress("reading its quantized weights twice")
            ways_of_all = [way for output in outputs for way in output.ways.values()]
            conversion = replace(conversion, packed=prove(built.files.derived, built.files, ways_of_all))
        built.model.update(tree_map_with_path(lambda _path, _array: mx.array(0), built.model.parameters()))
        built.release()
        kept: dict[str, mx.array] | None = {} if keep else None
        dead = _Conversion(parameters, outputs, kept).run(progress)
        whole = [output for output in outputs if not output.overflows]
        for output in whole:
            output.writer.finish()
            backend().save_config(output.config, output.folder / "config.json")
    if kept is not None:
        built.model.update(tree_unflatten(list(kept.items())))
    written = {output.label: output.written(dead) for output in outputs}
    return built.model if kept is not None else None, replace(conversion, dead=dead, variants=written)


class Writer(Protocol):
    """Takes the tensors of one variant."""

    sha256: dict[str, str]

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """Close what is open."""

    def write(self, name: str, bits: Bits) -> None:
        """Write the next rows of a tensor."""

    def finish(self) -> None:
        """Write the index. ValueError if a tensor is missing."""


Repacking = Callable[[Mapping[str, Way], Parameters], tuple[dict[str, Way], Repacked | None]]


def _output(
    source: SourceModel,
    variant: VariantOrder,
    parameters: Parameters,
    writer: Callable[[Path, Sequence[tuple[str, mx.array]], int], Writer] = ShardWriter,
    rounded: dict[str, mx.Dtype] | None = None,
    repacking: Repacking = by_repacking,
) -> Output:
    """Set one variant up, lazily: of the library's model only what it does to each parameter is kept.

    `rounded` takes what `cast_as_stored` puts there; `repacking` finds out what can be repacked.
    """
    made = planned(source, variant, rounded=rounded)
    all_planned = tree_flatten(made.model.parameters())
    expected = references(made.model, made.typed, parameters.arrays)
    beside = {f"{path} {n}": array for path, arrays in expected.items() for n, array in enumerate(arrays)}
    graph = parameters.graph_with({**dict(all_planned), **beside})
    by_parameter, nearest = by_importance(ways(graph, made.model, made.typed, expected), made.importance)
    by_parameter, repacked = repacking(by_parameter, parameters)
    known = {name for way in by_parameter.values() for name in way.names}
    whole: dict[str, list[tuple[str, mx.array]]] = {}
    for name, array in all_planned:
        if name not in known:
            whole.setdefault(name.rpartition(".")[0], []).append((name, array))
    made_of = {
        module: sorted({path for _, array in arrays for path in graph.leaves(graph.key(array), graph.source)})
        for module, arrays in whole.items()
    }
    folder = Path(variant.folder)
    return Output(
        variant.label,
        folder,
        made.config,
        by_parameter,
        whole,
        writer(folder, all_planned, backend().parameters(made.model)),
        made.routing,
        replace(made.kept, nearest=nearest),
        repacked,
        made.towers,
        made_of,
    )


@dataclass(frozen=True)
class Planned:
    """A variant's model, lazily, and what goes with it."""

    model: nn.Module
    config: dict[str, Any]
    typed: dict[str, mx.Dtype]
    """Types of its parameters before they were quantized."""
    routing: Routing
    kept: KeptLayers
    importance: dict[str, str]
    towers: Towers | None


def planned(
    source: SourceModel,
    variant: VariantOrder,
    own: Mapping[str, mx.array] | None = None,
    rounded: dict[str, mx.Dtype] | None = None,
) -> Planned:
    """Return a variant's model as the library makes it of the source, with `own` arrays in place of some parameters."""
    model = source.build()
    if own:
        model.load_weights(list(own.items()), strict=False)
    dtype, routing = cast_as_stored(model, variant.dtype, source.config, rounded)
    typed = {path: array.dtype for path, array in tree_flatten(model.parameters())}
    config, kept, importance = copy.deepcopy(source.config), KeptLayers(), dict[str, str]()
    if variant.quantize:
        quantized = quantize(model, config, variant, itertools.repeat(mx.default_stream(mx.cpu)))
        model, config, kept, importance = *quantized[:3], dict(quantized.importance)
    towers = told_of_towers(model, variant, source.model)
    if dtype:
        # The type as it is stored now; the source's other spelling of it goes.
        config["torch_dtype"] = dtype
        config.pop("dtype", None)
    return Planned(model, config, typed, routing, kept, importance, towers)


@dataclass
class _Judged:
    """A parameter of the source on its way."""

    path: str
    rows: Rows
    into: Bits | None
    """Its memory, where it is kept."""
    left: int
    """Pieces that are not written yet."""
    zero: bool
    """Whether all its numbers so far are zero; one without numbers is not."""


_Made = tuple[Piece, list[list[Piece]]]


@dataclass
class _Conversion:
    """All variants from one reading: pieces are made by all cores, and written in the order of the model."""

    parameters: Parameters
    outputs: Sequence[Output]
    kept: dict[str, mx.array] | None
    dead: list[str] = field(default_factory=list)
    _waiting: deque[tuple[_Judged, Future[_Made]]] = field(default_factory=deque)

    def run(self, progress: Progress) -> list[str]:
        """Convert everything and return the source's dead weights. `Refused` where a number of it is none."""
        labels = ", ".join(output.label for output in self.outputs)
        what = f"converting {labels}" if labels else "reading the source"
        total, done = self.parameters.bytes, 0
        by_module: dict[str, list[str]] = {}
        for path in self.parameters.paths:
            by_module.setdefault(path.rpartition(".")[0], []).append(path)
        try:
            for name, paths in by_module.items():
                for path in paths:
                    progress(Step(what, done, total))
                    rows = self.parameters.rows(path)
                    done += math.prod(rows.shape) * rows.dtype.size
                    self._begin(path, rows)
                self._whole(name, paths)
                self.parameters.forget(paths)
            for output in self.outputs:  # what the class made of no parameter of the source
                for name in list(output.whole):
                    self._whole(name, [])
            self._drain(0)
        finally:
            while self._waiting:
                self._waiting.popleft()[1].cancel()
        return self.dead

    def _begin(self, path: str, rows: Rows) -> None:
        """Hand the pieces of a parameter to the cores."""
        all_pieces = list(pieces(rows))
        into = self._memory(rows) if self.kept is not None else None
        judged_ = _Judged(path, rows, into, len(all_pieces), zero=bool(all_pieces))
        if not all_pieces:
            self._finished(judged_)
        all_ways = [output.ways[path] for output in self.outputs if path in output.ways]
        for first, last in all_pieces:
            target = into[first:last] if into is not None else None
            self._waiting.append((judged_, _workers().submit(_work, path, rows, first, last, target, all_ways)))
            self._drain(cores() + AHEAD)

    @staticmethod
    def _memory(rows: Rows) -> Bits | None:
        if isinstance(rows, ComputedRows):
            return None
        return np.empty(count(rows.shape), INTEGERS[rows.dtype.size])

    def _drain(self, most: int) -> None:
        """Write what is made, until at most so many pieces are on their way."""
        while len(self._waiting) > most:
            parameter, future = self._waiting.popleft()
            source, made = future.result()
            parameter.zero = parameter.zero and source.largest == 0
            matrix = len(parameter.rows.shape) > 1
            able = [output for output in self.outputs if parameter.path in output.ways]
            for output, of in zip(able, made, strict=True):
                for piece in of:
                    output.take(piece, matrix=matrix)
            parameter.left -= 1
            if not parameter.left:
                self._finished(parameter)

    def _finished(self, parameter: _Judged) -> None:
        if parameter.zero and len(parameter.rows.shape) > 1:
            self.dead.append(parameter.path)
        if self.kept is None:
            return
        if isinstance(parameter.rows, ComputedRows):
            self.kept[parameter.path] = parameter.rows.array
        elif parameter.into is not None:
            array = mx.array(parameter.into).view(parameter.rows.dtype).reshape(parameter.rows.shape)
            mx.eval(array)
            self.kept[parameter.path], parameter.into = array, None

    def _whole(self, module: str, paths: Sequence[str]) -> None:
        """Compute and write a module as the library makes it, where that is not known by rows."""
        for output in self.outputs:
            arrays = output.whole.pop(module, [])
            if not arrays:
                continue
            self._drain(0)
            self.parameters.read(paths)
            mx.eval([array for _, array in arrays])
            for name, array in arrays:
                output.take(judged(name, bits_of(array), array.dtype), matrix=array.ndim > 1)


def _work(path: str, rows: Rows, first: int, last: int, into: Bits | None, all_ways: Sequence[Way]) -> _Made:
    """Read rows, judge them, and make them for each variant. `Refused` if one of their numbers is none."""
    bits = rows.read(first, last, into)
    source = judged(path, bits, rows.dtype)
    if not source.finite and not is_bound(path, source):
        raise Refused(
            f"the source's {path} contains NaN or infinity", check="numbers-finite", remedy="Choose another source."
        )
    return source, make(rows, bits, first, all_ways)


@functools.cache
def _workers() -> ThreadPoolExecutor:
    """Return the threads that convert, which stay: a stream of MLX is never given back."""
    return ThreadPoolExecutor(cores())


def _tokenizer(source: Path, folders: Sequence[Path]) -> None:
    """Write a tokenizer.json where the source has only older files; all else is carried over by the caller."""
    if (source / "tokenizer.json").exists():
        return
    try:
        tokenizer = backend().load_tokenizer(source)
    except Exception:  # noqa: BLE001  the comparison of the tokenizers meets it, too, and reports it
        return
    for folder in folders:
        if (folder / "config.json").exists():  # else a number of its weights did not fit
            tokenizer.save_pretrained(folder)
