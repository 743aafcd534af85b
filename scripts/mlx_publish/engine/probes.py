"""What flows into each module of a model, and how much the log-probabilities hang on what comes out of it.

Each module gets a probe: zeros that are added to its output. The gradient of a log-probability with respect to them is
that with respect to the output. With labels drawn from the model's own distribution, products of such gradients are
the Fisher information, by which a small change of a weight becomes a KL divergence (Amari, 1998: Natural gradient
works efficiently in learning; here: 2 KLD = d^T F d). No weight gets a gradient, so memory holds activations alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from mlx import nn

_PAIR = 2
_GRAM = 3
"""Dimensions of an output whose first one is the sample, and whose last one is the width."""


@dataclass
class Flow:
    """Sums over positions of what flows through a module; all in float32, by rows and columns of its weight.

    With F_ij the Fisher information of a weight, `rows` are its sums over columns and `columns` those over rows.
    """

    rows: mx.array | None = None
    columns: mx.array | None = None

    def add(self, rows: mx.array, columns: mx.array) -> None:
        """Add the sums of one sample."""
        self.rows = rows if self.rows is None else self.rows + rows
        self.columns = columns if self.columns is None else self.columns + columns

    def arrays(self) -> list[mx.array]:
        """Return what has to be computed."""
        return [array for array in (self.rows, self.columns) if array is not None]


@dataclass
class Calls:
    """The calls of one forward pass, module by module."""

    probes: Mapping[str, mx.array] | None = None
    inputs: dict[str, mx.array] = field(default_factory=dict)
    """By the name of the probe: path, way, number."""
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _numbers: Counter[tuple[str, str]] = field(default_factory=Counter)
    _same: dict[int, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    """By path, the first module that took the same array."""
    _alive: list[mx.array] = field(default_factory=list)

    def take(self, path: str, way: str, given: mx.array, made: mx.array) -> mx.array:
        """Note a call and return its output with the probe."""
        name = f"{path} {way} {self._numbers[path, way]}"
        self._numbers[path, way] += 1
        self.inputs[name], self.shapes[name] = mx.stop_gradient(given), tuple(made.shape)
        self._alive.append(given)  # an id is that of an array as long as it lives
        self.shared.setdefault(path, self._same.setdefault(id(given), path))
        if self.probes is None:
            return made
        return made + self.probes[name].astype(made.dtype)


class Probed:
    """A model whose modules tell what flows through them, as long as `open` lasts."""

    def __init__(self, model: Any, modules: Mapping[str, nn.Module], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Take a model and those of its modules that can be quantized, with the shapes of their weights, by path."""
        self._model, self._modules, self._shapes = model, modules, shapes
        self.calls = Calls()
        self.lookups = {path: Flow() for path in modules}
        self.products = {path: Flow() for path in modules}
        self.shared: dict[str, str] = {}
        self.heads: set[str] = set()
        """Paths of the modules whose products are the logits."""
        self.positions = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Put a class with a probe in the place of each module's own; the modules stay what they are."""
        classes = {path: type(module) for path, module in self._modules.items()}
        for path, module in self._modules.items():
            module.__class__ = _with_probe(classes[path], path, self)
        try:
            yield
        finally:
            for path, module in self._modules.items():
                module.__class__ = classes[path]

    def read(self, samples: Sequence[Sequence[int]], key: mx.array) -> None:
        """Read samples of one length and add what flows. ValueError or RuntimeError where MLX has no gradient."""
        ids = mx.array([list(sample) for sample in samples])
        self.calls = Calls()
        logits = self._model(ids)  # nothing is computed: the shapes are wanted
        vocabulary = logits.shape[-1]
        shapes = dict(self.calls.shapes)
        self.heads |= {name.split(" ")[0] for name in list(shapes)[-1:] if shapes[name][-1] == vocabulary}
        self.shared = {**self.calls.shared, **self.shared}

        def drawn(probes: dict[str, mx.array]) -> tuple[mx.array, dict[str, mx.array]]:
            self.calls = Calls(probes)
            out = self._model(ids).astype(mx.float32)
            labels = mx.random.categorical(mx.stop_gradient(out), key=key)
            chosen = mx.take_along_axis(out, labels[..., None], axis=-1)[..., 0]
            return (chosen - mx.logsumexp(out, axis=-1)).sum(), self.calls.inputs

        zero = mx.array(0.0)
        zeros = {name: mx.broadcast_to(zero, shape) for name, shape in shapes.items()}  # of one number in memory
        (_, inputs), gradients = mx.value_and_grad(drawn)(zeros)
        for path, calls in _by_path(shapes).items():
            self._add(path, calls, inputs, gradients)
        mx.eval([flow.arrays() for flows in (self.lookups, self.products) for flow in flows.values()])
        self.positions += ids.size
        self.calls = Calls()

    def train(self) -> None:
        """Let the classes compute as they do in training, without kernels of their own."""
        self._model.train()

    def _add(
        self, path: str, calls: Sequence[str], inputs: Mapping[str, mx.array], gradients: Mapping[str, mx.array]
    ) -> None:
        """Add the flow of one module."""
        products, turned, shape = [], [], self._shapes[path]
        for name in calls:
            given, slope = inputs[name], gradients[name].astype(mx.float32)
            if name.split(" ")[1] == "lookup":
                self.lookups[path].add(*_of_lookup(given, slope, shape[0]))
            elif given.shape[-1] == shape[-1]:
                products.append((given.astype(mx.float32), slope))
            else:  # by the transposed weight, as mlx_lm/models/mla.py does
                turned.append((given.astype(mx.float32), slope))
        if products:
            self.products[path].add(*_of_products(products, len(shape)))
        if turned:
            columns, rows = _of_products(turned, len(shape))
            self.products[path].add(rows, columns)


def _by_path(names: Mapping[str, object]) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for name in names:
        paths.setdefault(name.split(" ")[0], []).append(name)
    return paths


def _of_lookup(ids: mx.array, slope: mx.array, rows: int) -> tuple[mx.array, mx.array]:
    flat = slope.reshape(-1, slope.shape[-1])
    square = mx.square(flat)
    return mx.zeros((rows,)).at[ids.reshape(-1)].add(square.sum(axis=-1)), square.sum(axis=0)


def _of_products(calls: Sequence[tuple[mx.array, mx.array]], dims: int) -> tuple[mx.array, mx.array]:
    """Return the information of a weight by row, and by column.

    One weight serves all positions of a sample, so its gradient there is a sum over positions, G = sum_t g_t x_t^T, of
    which the squares are summed: with A = x x^T, rows are the diagonal of g^T A g. Where positions are spread over
    experts or heads, they are taken as independent.
    """
    whole = dims == _PAIR and all(
        slope.ndim >= _GRAM and slope.shape[:-1] == given.shape[:-1] for given, slope in calls
    )
    if whole:
        x = mx.concatenate([given.reshape(given.shape[0], -1, given.shape[-1]) for given, _ in calls], axis=1)
        g = mx.concatenate([slope.reshape(slope.shape[0], -1, slope.shape[-1]) for _, slope in calls], axis=1)
        rows = ((x @ x.swapaxes(-1, -2)) @ g * g).sum(axis=(0, 1))
        columns = ((g @ g.swapaxes(-1, -2)) @ x * x).sum(axis=(0, 1))
        return mx.maximum(rows, 0), mx.maximum(columns, 0)
    rows = columns = mx.array(0.0)
    for given, slope in calls:
        x2, g2 = mx.square(given), mx.square(slope)
        length, height = x2.sum(axis=-1, keepdims=True), g2.sum(axis=-1, keepdims=True)
        rows = rows + (g2 * length).reshape(-1, g2.shape[-1]).sum(axis=0)
        columns = columns + (x2 * height).reshape(-1, x2.shape[-1]).sum(axis=0)
    return rows, columns


def _with_probe(kind: type, path: str, probed: Probed) -> type:
    """Return a class of modules that does what `kind` does and takes a probe on the way."""
    way = "lookup" if hasattr(kind, "as_linear") else "product"

    class WithProbe(kind):
        def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> Any:
            return probed.calls.take(path, way, x, super().__call__(x, *args, **kwargs))

        def as_linear(self, x: mx.array) -> mx.array:
            return probed.calls.take(path, "product", x, super().as_linear(x))

    WithProbe.__name__ = kind.__name__
    return WithProbe
