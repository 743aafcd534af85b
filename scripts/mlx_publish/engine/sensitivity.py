"""What rounding each module of a source does to its log-probabilities, at every rung of the ladder, in a few passes.

The model reads calibration text once, with a probe behind each module (`probes`). By the Fisher information that they
give, the KL divergence of a rounded weight follows from its rounding errors alone, so no rung needs a pass of its own:
sum_ij r_i c_j d_ij^2 / (2 sum c) a position, where r and c are the sums of the information over columns and rows. The
errors of rounding are taken as independent. Rows are drawn by their share of the information: a few of them tell the
sum (systematic sampling with probability proportional to size).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.backends import backend
from mlx_publish.engine.importance import characters
from mlx_publish.engine.making import cores
from mlx_publish.engine.passages import samples, samples_sha256
from mlx_publish.engine.probes import Flow, Probed
from mlx_publish.engine.sampled_rows import Sampled, drawn, integers
from mlx_publish.engine.sensitive_source import SensitiveSource
from mlx_publish.engine.weighted import weights_of
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

_ROWS, _ROWS_OF_A_VOCABULARY = 64, 512
"""Rows of a weight whose rounding is tried."""
_TOKENS = 256
"""Tokens of the samples that are read in one go; a proxy, which leaves little memory, reads one sample at a time."""
_UNKNOWN = 8
"""Bits of a module of which nothing could be measured."""
_NO_GRADIENT = "vjp"
"""Stands in the message of MLX for an operation without a gradient."""
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
    the source is read in its 8-bit form, for a machine that cannot hold more. Raises `Refused` if it cannot be built,
    and what `samples` raises.
    """
    progress("loading the source for the plan")
    read = SensitiveSource.of(Path(source), dtype, proxy=proxy)
    order = CalibrationOrder(**calibration)
    texts = samples(Path(tokenizer), backend().load_tokenizer(Path(tokenizer)), order)
    probed = Probed(read.model, read.modules, read.shapes)
    _read(probed, texts, order.seed, progress, at_once=1 if proxy else max(1, _TOKENS // len(texts[0])))
    ladder: list[Rung] = [(bits, group) for bits, group in rungs]
    measured = _Measured(read, probed, texts, ladder)
    modules = measured.modules(progress)
    used = {module.input for module in modules}
    return Sensitivities(
        modules=modules,
        importance={name: text for name, text in measured.importance.items() if name in used},
        other_bytes=read.other_bytes,
        other_weights=read.other_weights,
        tokens=sum(map(len, texts)),
        tokens_sha256=samples_sha256(texts),
        computed_in=read.computed_in,
        proxy="8bit" if proxy else "",
    )


def _read(probed: Probed, texts: Sequence[Sequence[int]], seed: int, progress: Tell, *, at_once: int) -> None:
    """Let the model read all samples; where MLX has no gradient of what its class computes, nothing is known then."""
    key, done, total = mx.random.key(seed), 0, sum(map(len, texts))
    with probed.open():
        for start in range(0, len(texts), at_once):
            batch = texts[start : start + at_once]
            progress(Step("measuring sensitivity", done, total, "tokens"))
            key, own = mx.random.split(key)
            if not _differentiated(probed, batch, own):
                return
            done += sum(map(len, batch))


def _differentiated(probed: Probed, batch: Sequence[Sequence[int]], key: mx.array) -> bool:
    """Read samples; return whether MLX has a gradient of all that the class computes.

    Kernels for a GPU have none; some classes do without them in training (mlx_lm/models/gated_delta.py).
    """
    for _ in range(2):
        try:
            probed.read(batch, key)
        except (ValueError, RuntimeError) as error:
            if _NO_GRADIENT not in str(error):
                raise
            probed.train()
        else:
            return True
    return False


@dataclass(frozen=True)
class _Share:
    """Sums of the information of one weight by row and by column, in float64."""

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]

    @classmethod
    def of(cls, flow: Flow) -> _Share | None:
        """Return what flowed; None where nothing did, or more than float32 can hold."""
        if flow.rows is None or flow.columns is None:
            return None
        made = cls(np.array(flow.rows, np.float64), np.array(flow.columns, np.float64))
        return made if all(0 < sums.sum() < math.inf for sums in (made.rows, made.columns)) else None


class _Measured:
    """The measurement of each module, from what flowed through it."""

    def __init__(
        self, read: SensitiveSource, probed: Probed, texts: Sequence[Sequence[int]], ladder: Sequence[Rung]
    ) -> None:
        """Add up by which columns the scales of each module are chosen: modules with one input share them."""
        self._read, self._probed, self._texts, self._ladder = read, probed, texts, ladder
        self._shares = {path: self._share(path) for path in read.modules}
        self.inputs: dict[str, str] = {}
        """By path, the key of `importance`."""
        sums: dict[str, NDArray[np.float64]] = {}
        for path, shares in self._shares.items():
            if not shares:
                continue
            key = probed.shared.get(path, path) if len(shares) == 1 else path
            columns = np.sum([share.columns for share in shares], axis=0)
            if key in sums and sums[key].shape != columns.shape:
                key = path
            self.inputs[path] = key
            sums[key] = sums[key] + columns if key in sums else columns
        self.importance = {key: characters(values) for key, values in sums.items()}

    def _share(self, path: str) -> list[_Share]:
        flows = (self._probed.products[path], self._probed.lookups[path])
        return [share for share in map(_Share.of, flows) if share is not None]

    def modules(self, progress: Tell) -> tuple[ModuleSensitivity, ...]:
        """Return all modules in the order of the model, measured by all cores."""
        made: list[ModuleSensitivity] = []
        with ThreadPoolExecutor(cores()) as pool:
            sampled = [self._sampled(path) for path in self._read.modules]
            tried = pool.map(lambda one: {rung: one.error(rung) for rung in one.rungs}, sampled)
            for path, errors in zip(self._read.modules, tried, strict=True):
                progress(Step("trying rungs", len(made), len(sampled), "modules"))
                # Where scales overflow, the rung is none to choose.
                made.append(self._module(path, {rung: error for rung, error in errors.items() if math.isfinite(error)}))
        return tuple(made)

    def _sampled(self, path: str) -> Sampled:
        """Draw rows of a weight by their share of the information."""
        shape, shares = self._read.shapes[path], self._shares[path]
        rows, repeats = prod(shape[:-1]), prod(shape[:-2])
        # Experts and heads are taken as alike.
        masses = [np.tile(share.rows, repeats) / repeats for share in shares] or [np.ones(rows)]
        most = (
            _ROWS_OF_A_VOCABULARY
            if path in self._probed.heads or hasattr(self._read.modules[path], "as_linear")
            else _ROWS
        )
        chosen, counts = drawn(np.sum(masses, axis=0), min(rows, most))
        columns = [share.columns / share.columns.sum() for share in shares] or [np.ones(shape[-1])]
        terms = [(mass[chosen] * counts, column) for mass, column in zip(masses, columns, strict=True)]
        text = self.importance.get(self.inputs.get(path, ""), "")
        weight = self._read.rows(path, chosen)
        return Sampled(
            integers(weight),
            np.array(weight.astype(mx.float32)),
            weight.dtype,
            terms,
            weights_of(text) if text else None,
            [rung for rung in self._ladder if shape[-1] % rung[1] == 0],
        )

    def _module(self, path: str, errors: Mapping[Rung, float]) -> ModuleSensitivity:
        read, seen = self._read, bool(self._shares[path])
        scale = 0.5 / max(self._probed.positions, 1) if seen else self._alone(path, errors)
        kind = read.kind(path, head=path in self._probed.heads)
        unknown = not scale and any(errors.values())
        costs = {rung: RungCost(read.bytes(path, rung), error * scale) for rung, error in errors.items()}
        costs[WHOLE] = RungCost(read.bytes(path, WHOLE), 0.0)
        return ModuleSensitivity(
            path=path,
            kind=kind,
            weights=prod(read.shapes[path]),
            floor=_UNKNOWN if unknown else read.floor(path, kind),
            rungs={rung_key(rung): cost for rung, cost in costs.items()},
            input=self.inputs.get(path, ""),
        )

    def _alone(self, path: str, errors: Mapping[Rung, float]) -> float:
        """Return nats by squared error, from passes with this module alone rounded.

        For a module whose class calls it in a way of its own, and for all where MLX has no gradient. Raises `Refused`
        where the source predicts nothing.
        """
        bits, count = _SEEN_ALONE
        rung = next((rung for rung in errors if rung[0] == bits), None)
        if rung is None or not errors[rung]:
            return 0.0
        divergence = self._read.divergence(path, rung, self._texts[:count])
        if not math.isfinite(divergence):
            raise Refused(
                f"the source computes no numbers on the calibration text, so no plan can be measured ({path})",
                check="converts",
                remedy="Check the source's weights for values that overflow, or use bits in place of a plan.",
            )
        return divergence / errors[rung]
