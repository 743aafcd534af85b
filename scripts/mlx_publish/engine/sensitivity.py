"""What rounding each module of a source does to its log-probabilities, at every rung of the ladder, in a few passes.

The model reads calibration text once, with a probe behind each module (`probes`). By the Fisher information that they
give, the KL divergence of a rounded weight follows from its rounding errors alone, so no rung needs a pass of its own:
sum_ij r_i c_j d_ij^2 / (2 sum c) a position, where r and c are the sums of the information over columns and rows. The
errors of rounding are taken as independent. Rows are drawn by their share of the information: a few of them tell the
sum (systematic sampling with probability proportional to size).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.backends import backend
from mlx_publish.engine.importance import characters
from mlx_publish.engine.making import cores, cpu_stream
from mlx_publish.engine.passages import samples, samples_sha256
from mlx_publish.engine.probes import Flow, Probed
from mlx_publish.engine.rounding import Precision, quantize_rows_each
from mlx_publish.engine.rows import INTEGERS, Bits, bits_of
from mlx_publish.engine.sensitive_source import SensitiveSource
from mlx_publish.engine.weighted import quantize_rows, weights_of
from mlx_publish.errors import Refused
from mlx_publish.evidence.sensitivities import (
    WHOLE,
    CalibrationOrder,
    ModuleSensitivity,
    Rung,
    RungCost,
    Sensitivities,
    rung_key,
)
from mlx_publish.text.progress import Step, Tell

Floats = NDArray[np.float32]
_ROWS, _ROWS_OF_A_VOCABULARY = 64, 512
"""Rows of a weight whose rounding is tried."""
_TOKENS = 256
"""Tokens of the samples that are read in one go."""
_SEEN_ALONE = (4, 4)
"""Bits at which a module without a gradient is measured, and samples that are read for it."""


def sensitivity(
    source: str,
    tokenizer: str,
    calibration: dict[str, Any],
    rungs: Sequence[Sequence[int]],
    progress: Tell,
    dtype: str | None = None,
    *,
    proxy: bool = False,
) -> Sensitivities:
    """Measure every module of the source in a folder at `rungs`, pairs of bits and group size.

    `tokenizer` is the folder that the calibration text is read with, `calibration` are the fields of a
    `CalibrationOrder`, `dtype` is the type that variants will be stored in (default: the source's own). With `proxy`
    the source is read in its 8-bit form, for a machine that cannot hold more. Raises `Refused` if it cannot be built.
    """
    progress("loading the source for the plan")
    read = SensitiveSource.of(Path(source), dtype, proxy=proxy)
    order = CalibrationOrder(**calibration)
    texts = samples(Path(tokenizer), backend().load_tokenizer(Path(tokenizer)), order)
    if not texts:
        raise Refused(
            "the calibration text is shorter than one sample",
            check="calibration-read",
            remedy="Use a longer text, or a smaller 'length' in the recipe's calibration section.",
        )
    probed = Probed(read.model, read.modules, read.shapes)
    _read(probed, texts, order.seed, progress)
    ladder: list[Rung] = [(bits, group) for bits, group in rungs]
    measured = _Measured(read, probed, texts, ladder)
    modules = measured.modules(progress)
    used = {module.input for module in modules}
    return Sensitivities(
        modules=modules,
        importance={name: text for name, text in measured.importance.items() if name in used},
        other_bytes=read.other_bytes,
        tokens=sum(map(len, texts)),
        tokens_sha256=samples_sha256(texts),
        computed_in=read.computed_in,
        proxy="8bit" if proxy else "",
    )


def _read(probed: Probed, texts: Sequence[Sequence[int]], seed: int, progress: Tell) -> None:
    """Let the model read all samples; where MLX has no gradient of what its class computes, nothing is known then."""
    key, done, total = mx.random.key(seed), 0, sum(map(len, texts))
    step = max(1, _TOKENS // len(texts[0]))
    with probed.open():
        for start in range(0, len(texts), step):
            batch = texts[start : start + step]
            progress(Step("measuring sensitivity", done, total, "tokens"))
            key, own = mx.random.split(key)
            try:
                probed.read(batch, own)
            except (ZeroDivisionError):
                if start:  # the first one would have failed as well
                    raise
                return
            done += sum(map(len, batch))


@dataclass(frozen=True)
class _Order:
    """Rows of a weight that are rounded at each rung, and what their errors weigh."""

    rows: Bits
    """(rows, columns), the bits of `dtype`."""
    values: Floats
    """The same as numbers."""
    dtype: mx.Dtype
    """That variants are stored in."""
    terms: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
    """Of the information: by row and by column; their product is that of a weight."""
    importance: Floats | None
    """By which scales are chosen; None for MLX's own."""
    rungs: Sequence[Rung]

    def error(self, rung: Rung) -> float:
        """Return the sum over the whole weight of squared errors, by the information."""
        bits, group = rung
        precision = Precision(group, bits, "affine")
        if self.importance is None:
            made = quantize_rows_each(self.rows, self.dtype, [precision])[0]
        else:
            made = quantize_rows(self.rows, self.dtype, precision, self.importance)
        with mx.stream(cpu_stream()):
            codes, *lines = (mx.array(part) for part in made)
            scales, biases = (line.view(self.dtype).astype(mx.float32) for line in lines)
            rounded = np.array(mx.dequantize(codes.view(mx.uint32), scales, biases, group, bits))
        errors = np.square(rounded - self.values).astype(np.float64)
        return float(sum(by_row @ errors @ by_column for by_row, by_column in self.terms))


def _integers(rows: mx.array) -> Bits:
    mx.eval(rows)
    return bits_of(rows).view(INTEGERS[rows.dtype.size])


def _drawn(masses: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw rows by their share of the masses, at equal steps of the sum; return them and how often each counts."""
    sums = np.cumsum(np.maximum(masses, masses.sum() * 1e-12 / len(masses) + 1e-300))
    step = sums[-1] / count
    rows = np.minimum(np.searchsorted(sums, (np.arange(count) + 0.5) * step), len(masses) - 1)
    chosen, times = np.unique(rows, return_counts=True)
    own = np.diff(sums, prepend=0.0)[chosen]
    return chosen, times * step / own


@dataclass
class _Measured:
    """The measurement of each module, from what flowed through it."""

    read: SensitiveSource
    probed: Probed
    texts: Sequence[Sequence[int]]
    ladder: Sequence[Rung]

    def __post_init__(self) -> None:
        self.inputs: dict[str, str] = {}
        """By path, the input whose importance its scales are chosen by."""
        self.importance: dict[str, str] = {}
        sums: dict[str, NDArray[np.float64]] = {}
        for path in self.read.modules:
            parts = self._flows(path)
            if not parts:
                continue
            self.inputs[path] = key = self.probed.shared.get(path, path) if len(parts) == 1 else path
            of = sum(np.array(flow.columns, np.float64) / max(float(mx.sum(flow.columns)), 1e-30) * self._mass(flow) for flow in parts)
            sums[key] = sums[key] + of if key in sums and sums[key].shape == of.shape else of
        self.importance = {key: characters(values) for key, values in sums.items()}

    def _flows(self, path: str) -> list[Flow]:
        return [of[path] for of in (self.probed.products, self.probed.lookups) if of[path].rows is not None]

    @staticmethod
    def _mass(flow: Flow) -> float:
        return float(mx.sum(flow.rows))

    def modules(self, progress: Tell) -> tuple[ModuleSensitivity, ...]:
        """Return all modules in the order of the model, measured by all cores."""
        paths = list(self.read.modules)
        what, total = "trying rungs", len(paths)
        made: list[ModuleSensitivity] = []
        with ThreadPoolExecutor(cores()) as pool:
            orders = [self._order(path) for path in paths]
            for path, costs in zip(paths, pool.map(self._tried, orders), strict=True):
                progress(Step(what, len(made), total, "modules"))
                made.append(self._module(path, costs))
        return tuple(made)

    def _order(self, path: str) -> _Order:
        """Draw rows of a weight by their share of the information, with how often each of them counts."""
        flows = self._flows(path)
        shape = self.read.shapes[path]
        rows, repeats = int(np.prod(shape[:-1])), int(np.prod(shape[:-2]))
        masses = [np.tile(np.array(flow.rows, np.float64), repeats) / repeats for flow in flows]
        most = _ROWS_OF_A_VOCABULARY if path in self.probed.heads or len(shape) == 2 and rows > 16384 else _ROWS
        chosen, counts = _drawn(sum(masses) if masses else np.ones(rows), min(rows, most))
        weight = self.read.rows(path, chosen)
        terms = []
        for flow, mass in zip(flows, masses, strict=True):
            columns = np.array(flow.columns, np.float64)
            if columns.sum() > 0:
                terms.append((mass[chosen] * counts / columns.sum(), columns))
        if not flows:
            terms.append((counts, np.ones(shape[-1])))
        text = self.importance.get(self.inputs.get(path, ""), "")
        used = weights_of(text) if len(text) == shape[-1] else None
        rungs = [rung for rung in self.ladder if shape[-1] % rung[1] == 0]
        return _Order(_integers(weight), np.array(weight.astype(mx.float32)), weight.dtype, terms, used, rungs)

    @staticmethod
    def _tried(order: _Order) -> dict[Rung, float]:
        return {rung: order.error(rung) for rung in order.rungs}

    def _module(self, path: str, errors: Mapping[Rung, float]) -> ModuleSensitivity:
        flows, read = self._flows(path), self.read
        scale = 0.5 / max(self.probed.positions, 1) if flows else self._alone(path, errors)
        kind = read.kind(path, head=path in self.probed.heads)
        costs = {rung_key(rung): RungCost(read.bytes(path, rung), float(error * scale)) for rung, error in errors.items()}
        costs[rung_key(WHOLE)] = RungCost(read.bytes(path, WHOLE), 0.0)
        return ModuleSensitivity(
            path, kind, int(np.prod(read.shapes[path])), read.floor(path, kind), costs, self.inputs.get(path, "") if flows else ""
        )

    def _alone(self, path: str, errors: Mapping[Rung, float]) -> float:
        """Return nats by squared error, from passes with this module alone rounded."""
        bits, count = _SEEN_ALONE
        rung = next((rung for rung in errors if rung[0] == bits), None)
        if rung is None or not errors[rung]:
            return 0.0
        return self.read.divergence(path, rung, self.texts[:count]) / errors[rung]
