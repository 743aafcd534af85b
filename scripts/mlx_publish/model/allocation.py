"""The solver: a rung for each module, so that the predicted divergence is least within a number of bytes.

It is the multiple-choice knapsack problem, solved exactly by dynamic programming over bytes. Modules of the same shape
cost multiples of the same unit, so a model of a few billion weights has some ten thousand units. Shapes that do not fit
the unit are rounded up to it: never above the budget, and less than a unit below it for each such module.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_publish.evidence.sensitivities import WHOLE, ModuleSensitivity, rung_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UNITS, _CELLS = 1 << 19, 1 << 27
"""Most units of the whole model, and of all modules together: each has a byte in memory."""


class OutOfReach(ValueError):
    """No allocation within the floors is small enough, or close enough; `least` is the smallest, or the closest."""

    def __init__(self, least: float) -> None:
        super().__init__(f"the least is {least:g}")
        self.least = least


@dataclass(frozen=True)
class Allocation:
    """A rung for each module, by path in the model's order."""

    rungs: Mapping[str, str]
    bytes: int
    """Of these modules."""
    kld: float
    """Predicted mean KL divergence in nats: the sum of those of the modules, each rounded alone."""


@dataclass(frozen=True)
class _Choice:
    rung: str
    bytes: int
    kld: float


def fits_into(modules: Sequence[ModuleSensitivity], budget: int) -> Allocation:
    """Return the allocation of at most `budget` bytes with the least predicted divergence. Raises `OutOfReach`.

    More bytes never give a larger divergence. Of allocations that are alike, the smaller rung of later modules wins.
    """
    choices = [_useful(module) for module in modules]
    least = sum(own[0].bytes for own in choices)
    if budget < least:
        raise OutOfReach(least)
    if budget >= sum(own[-1].bytes for own in choices):
        return _allocation(modules, [own[-1] for own in choices])
    table = _Table.of(choices, _unit(choices), budget - least)
    return _allocation(modules, table.picked(table.cells))


def widest(modules: Sequence[ModuleSensitivity]) -> Allocation:
    """Return the allocation with all modules quantized, each as well as it can be."""
    choices = [_useful(module) for module in modules]
    return _allocation(modules, [next((c for c in own[::-1] if rung_of(c.rung) != WHOLE), own[-1]) for own in choices])


def within(modules: Sequence[ModuleSensitivity], limit: float) -> Allocation:
    """Return the smallest allocation with a predicted divergence of at most `limit`. Raises `OutOfReach`."""
    choices = [_useful(module) for module in modules]
    closest = sum(own[-1].kld for own in choices)
    if closest > limit:
        raise OutOfReach(closest)
    unit, least = _unit(choices), sum(own[0].bytes for own in choices)
    # Each module may be rounded up by a unit.
    table = _Table.of(choices, unit, _greedy(choices, limit) - least + unit * len(choices))
    return _allocation(modules, table.picked(int((table.klds <= limit).argmax())))


def step_above(modules: Sequence[ModuleSensitivity], rungs: Mapping[str, str]) -> int | None:
    """Return the bytes of the smallest step that predicts less divergence; None where every module is at its best."""
    steps = [
        choice.bytes - module.rungs[rungs[module.path]].bytes
        for module in modules
        for choice in _useful(module)
        if choice.bytes > module.rungs[rungs[module.path]].bytes
    ]
    return min(steps, default=None)


def _allocation(modules: Sequence[ModuleSensitivity], picked: Sequence[_Choice]) -> Allocation:
    rungs = {module.path: choice.rung for module, choice in zip(modules, picked, strict=True)}
    return Allocation(rungs, sum(choice.bytes for choice in picked), sum(choice.kld for choice in picked))


def _useful(module: ModuleSensitivity) -> tuple[_Choice, ...]:
    """Return the rungs of a module within its floor, smallest first, without those that a smaller one is as good as."""
    of_module = [
        _Choice(key, cost.bytes, max(0.0, cost.kld))
        for key, cost in module.rungs.items()
        if rung_of(key)[0] >= module.floor and math.isfinite(cost.kld)  # one that overflows is no choice
    ]
    useful: list[_Choice] = []
    for choice in sorted(of_module, key=lambda choice: (choice.bytes, choice.kld, rung_of(choice.rung))):
        if not useful or choice.kld < useful[-1].kld:
            useful.append(choice)
    if not useful:
        raise ValueError(f"{module.path} has no rung of {module.floor} bits or more")
    return tuple(useful)


def _unit(choices: Sequence[Sequence[_Choice]]) -> int:
    """Return the bytes of a unit: the one by which least is lost to rounding up. No budget has a say in it."""
    span = sum(own[-1].bytes - own[0].bytes for own in choices)
    most = max(1024, min(_UNITS, _CELLS // max(1, len(choices))))
    steps = Counter(math.gcd(*(choice.bytes - own[0].bytes for choice in own)) for own in choices)
    shared = 0
    for step, _ in sorted(steps.items(), key=lambda item: (-item[1], item[0])):
        common = math.gcd(shared, step)
        if common and span // common <= most:
            shared = common
    fine = max(1, -(-span // most))
    return min(filter(None, (shared, fine)), key=lambda unit: unit * sum(n for s, n in steps.items() if s % unit))


def _greedy(choices: Sequence[Sequence[_Choice]], limit: float) -> int:
    """Return the bytes of an allocation within the limit: the steps that take most divergence for a byte come first."""
    hulls = [_hull(own) for own in choices]
    steps = sorted(
        (_slope(before, after), index, rank)
        for index, hull in enumerate(hulls)
        for rank, (before, after) in enumerate(itertools.pairwise(hull))
    )
    now = [own[0] for own in choices]
    for _, index, rank in steps:
        if sum(choice.kld for choice in now) <= limit:
            break
        now[index] = hulls[index][rank + 1]
    return sum(choice.bytes for choice in now)


def _hull(own: Sequence[_Choice]) -> list[_Choice]:
    """Return the choices that no mixture of two others beats: each step takes less for a byte than the one before."""
    hull: list[_Choice] = []
    for choice in own:
        while len(hull) > 1 and _slope(hull[-2], choice) <= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(choice)
    return hull


def _slope(before: _Choice, after: _Choice) -> float:
    """Return the change of divergence for a byte, which is below zero."""
    return (after.kld - before.kld) / (after.bytes - before.bytes)


@dataclass(frozen=True)
class _Table:
    """What is least for each number of units above the smallest allocation, and by which choice of each module."""

    choices: Sequence[Sequence[_Choice]]
    units: Sequence[Sequence[int]]
    """Of each choice, above its module's smallest."""
    taken: NDArray[np.uint8]
    """[modules, cells + 1]."""
    klds: NDArray[np.float64]
    """[cells + 1], never rising."""

    @property
    def cells(self) -> int:
        return len(self.klds) - 1

    @staticmethod
    def of(choices: Sequence[Sequence[_Choice]], unit: int, room: int) -> _Table:
        """Fill it for `room` bytes above the smallest allocation."""
        import numpy as np  # noqa: PLC0415  commands that compute nothing run where it is not installed

        units = [[-(-(choice.bytes - own[0].bytes) // unit) for choice in own] for own in choices]
        cells = min(room // unit, sum(own[-1] for own in units))
        least = np.zeros(cells + 1)
        taken = np.zeros((len(choices), cells + 1), np.uint8)
        for row, own, sizes in zip(taken, choices, units, strict=True):
            best = least + own[0].kld
            for index, (choice, size) in enumerate(zip(own, sizes, strict=True)):
                if not index or size > cells:
                    continue
                candidate = least[: cells + 1 - size] + choice.kld
                better = candidate < best[size:]
                best[size:][better] = candidate[better]
                row[size:][better] = index
            least = best
        return _Table(choices, units, taken, least)

    def picked(self, cell: int) -> list[_Choice]:
        """Return the choices that take at most so many units."""
        picked: list[_Choice] = []
        for row, own, sizes in zip(self.taken[::-1], self.choices[::-1], self.units[::-1], strict=True):
            index = int(row[cell])
            picked.append(own[index])
            cell -= sizes[index]
        return picked[::-1]
