"""The search for scale and bias of a group by the weighted squared error, on a block of groups that fits into a cache.

All operations are IEEE float32, correctly rounded and one by one, and sums are taken by halves, so that every machine
computes the same: no `np.sum`, whose order follows the width of the vectors, and no power. A candidate that is NaN or
infinite is never better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlx_publish.engine.rounding_formats import LANES, Array, Format, each_lane

_CUTS = {2: (0, 8, 16, 24), 3: (0, 8, 16, 24), 4: (0, 8, 16, 24), 5: (0, 6, 12), 6: (0, 6), 8: (0, 3)}
"""By bits: percent of a group's range that are cut off at either end to begin with."""
_ROUNDS = 2
"""How often a line is fitted to the codes and they are rounded again."""
_NEARBY = {2: (5, 2), 3: (5, 2), 4: (5, 2), 5: (5, 3, 2), 6: (5, 3, 2, 1), 8: (5, 3, 2, 1)}
"""By bits: percent by which a scale is tried narrower and wider."""
_ONE, _ZERO, _HALF = np.float32(1), np.float32(0), np.float32(0.5)


class Space:
    """A thread's memory for blocks of one shape: a row for every four values of a group, four columns a group."""

    def __init__(self, size: int, count: int) -> None:
        """Make room for `count` groups of `size` values."""
        shape = rows, columns = size // LANES, count * LANES
        self.values, self.weights, self.pulled, self.codes, self.products = (
            np.empty(shape, np.float32) for _ in "12345"
        )
        self._halves = np.empty((3, rows // 2, columns), np.float32)
        self._steps = [self._halving(1), self._halving(3)]
        self._upper, self._lower = self.products[: rows // 2], self.products[rows // 2 :]

    def _halving(self, sums: int) -> list[tuple[Array, Array]]:
        steps, half = [], self._halves.shape[1] // 2
        while half:
            steps.append((self._halves[:sums, :half], self._halves[:sums, half : 2 * half]))
            half //= 2
        return steps

    def begin_sum(self, place: int) -> None:
        """Begin the sum of what `products` holds, which is free then."""
        np.add(self._upper, self._lower, out=self._halves[place])

    def sums(self, number: int) -> Array:
        """Return the sums that were begun, one or three, (sums, groups): by halves, lanes last."""
        for upper, lower in self._steps[number // 2]:
            np.add(upper, lower, out=upper)
        lanes = self._halves[:number, 0]
        pairs = lanes[:, 0::2] + lanes[:, 1::2]
        each: Array = pairs[:, 0::2] + pairs[:, 1::2]
        return each


@dataclass
class Best:
    """Scale and bias of each group, as they are stored, and their weighted squared error."""

    scale: Array
    bias: Array
    error: Array

    def take(self, scale: Array, bias: Array, error: Array) -> None:
        """Take others where they are better."""
        better = error < self.error
        np.copyto(self.error, error, where=better)
        np.copyto(self.scale, scale, where=better)
        np.copyto(self.bias, bias, where=better)


class Search:
    """Candidates for the groups of a block; `space` has their values and the weights of these."""

    def __init__(self, space: Space, number: Format, bits: int) -> None:
        """Compute what all candidates need."""
        self._space, self._number, self._bits = space, number, bits
        self._top = np.float32((1 << bits) - 1)
        np.copyto(space.products, space.weights)
        self._total = self._sum()
        np.multiply(space.values, space.weights, out=space.products)
        self._mean = self._sum() / self._total
        np.subtract(space.values, each_lane(self._mean), out=space.pulled)
        np.multiply(space.pulled, space.weights, out=space.pulled)

    def run(self, scale: Array, bias: Array, low: Array, high: Array) -> tuple[Best, Array]:
        """Return the best of these scales and biases and of others, and for which groups it is another.

        `low` and `high` are the smallest and the largest value of each group.
        """
        self.round(scale, bias)
        start = self._error(scale, bias)
        best = Best(scale.copy(), bias.copy(), start.copy())
        self._try(best, *map(self._stored, self._range(low, high)))
        for _ in range(_ROUNDS):
            self._refit(best)
        for percent in _NEARBY[self._bits]:
            for change in (-percent, percent):
                scale = self._stored(best.scale * np.float32(1 + change / 100))
                self.round(scale, best.bias + (best.scale - scale) * (self._top * _HALF))
                self._refit(best)
        return best, best.error < start

    def round(self, scale: Array, bias: Array) -> Array:
        """Return the nearest codes as float32, which are the space's."""
        codes = np.subtract(self._space.values, each_lane(bias), out=self._space.codes)
        np.multiply(codes, each_lane(_ONE / scale), out=codes)
        np.rint(codes, out=codes)
        return np.clip(codes, _ZERO, self._top, out=codes)

    def _range(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Return the line through the codes of that range which explains most."""
        length = high - low
        scale, bias, most = length / self._top, low.copy(), np.full_like(low, -1)
        cuts = [np.float32(cut / 100) for cut in _CUTS[self._bits]]
        for below in cuts:
            first = low + length * below
            for above in cuts:
                self.round(length * ((_ONE - below - above) / self._top), first)
                slope, mean, explained = self._line()
                better = explained > most
                np.copyto(most, explained, where=better)
                np.copyto(scale, slope, where=better)
                np.copyto(bias, self._mean - slope * mean, where=better)
        return scale, bias

    def _line(self) -> tuple[Array, Array, Array]:
        """Return the slope of the weighted line from codes to values, the codes' mean, and how much it explains.

        Codes that are all alike have no slope and explain nothing.
        """
        space, products = self._space, self._space.products
        np.multiply(space.codes, space.weights, out=products)
        space.begin_sum(0)
        np.multiply(products, space.codes, out=products)
        space.begin_sum(1)
        np.multiply(space.codes, space.pulled, out=products)
        space.begin_sum(2)
        first, second, shared = space.sums(3)
        mean = first / self._total
        variance = second - first * mean
        slope = shared / variance
        explained = shared * slope
        np.copyto(explained, _ZERO, where=variance <= 0)
        return slope, mean, explained

    def _refit(self, best: Best) -> None:
        """Fit a line to the codes and try it; its codes remain."""
        slope, mean, _ = self._line()
        scale = self._stored(slope)
        self._try(best, scale, self._stored(self._mean - scale * mean))

    def _try(self, best: Best, scale: Array, bias: Array) -> None:
        self.round(scale, bias)
        best.take(scale, bias, self._error(scale, bias))

    def _error(self, scale: Array, bias: Array) -> Array:
        """Return the weighted squared error of each group with the codes at hand."""
        errors = np.multiply(self._space.codes, each_lane(scale), out=self._space.products)
        np.add(errors, each_lane(bias), out=errors)
        np.subtract(errors, self._space.values, out=errors)
        np.multiply(errors, errors, out=errors)
        np.multiply(errors, self._space.weights, out=errors)
        return self._sum()

    def _sum(self) -> Array:
        self._space.begin_sum(0)
        sums: Array = self._space.sums(1)[0]
        return sums

    def _stored(self, numbers: Array) -> Array:
        """Return numbers as the stored type has them."""
        return self._number.widen(self._number.narrow(numbers), np.empty_like(numbers))
