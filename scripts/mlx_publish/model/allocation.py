"""The solver: a rung for each module, so that the predicted divergence is least within a number of bytes.

It is the multiple-choice knapsack problem, solved exactly by dynamic programming over bytes. Modules of the same shape
cost multiples of the same unit, so a model of a few billion weights has some ten thousand units. Shapes that do not fit
the unit are rounded up to it: never above the budget, and less than a unit below it for each such module.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_publish.evidence.sensitivities import ModuleSensitivity, rung_of

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
    unit = _unit(choices)
    table = _Table.of(choices, unit, min(budget, sum(own[-1].bytes for own in choices)) - least)
    return table.allocation(modules, table.cells)


def within(modules: Sequence[ModuleSensitivity], limit: float) -> Allocation:
    """Return the smallest allocation with a predicted divergence of at most `limit`. Raises `OutOfReach`."""
    choices = [_useful(module) for module in modules]
    closest = sum(own[-1].kld for own in choices)
    if closest > limit:
        raise OutOfReach(closest)
    unit = _unit(choices)
    table = _Table.of(choices, unit, _greedy(choices, limit) - sum(own[0].bytes for own in choices))
    return table.allocation(modules, int(np.argmax(table.klds <= limit)))


def _useful(module: ModuleSensitivity) -> tuple[_Choice, ...]:
    """Return the rungs of a module within its floor, smallest first, without those that a smaller one is as good as."""
    of_module = [
        _Choice(key, cost.bytes, max(0.0, cost.kld))
        for key, cost in module.rungs.items()
        if rung_of(key)[0] >= module.floor
    ]
    useful: list[_Choice] = []
    for choice in sorted(of_module, key=lambda choice: (choice.bytes, choice.kld, rung_of(choice.rung))):
        if not useful or choice.kld < useful[-1].kld:
            useful.append(choice)
    if not useful:
        raise ValueError(f"{module.path} has no rung of {module.floor} bits or more")
    return tuple(useful)


def _unit(choices: Sequence[Sequence[_Choice]]) -> int:
    """Return the bytes of a unit: it divides what the rungs of most modules differ by. No budget has a say in it."""
    span = sum(own[-1].bytes - own[0].bytes for own in choices)
    most = max(1024, min(_UNITS, _CELLS // max(1, len(choices))))
    steps = Counter(math.gcd(*(choice.bytes - own[0].bytes for choice in own)) for own in choices)
    unit = 0
    for step, _ in sorted(steps.items(), key=lambda item: (-item[1], item[0])):
        common = math.gcd(unit, step)
        if common and span // common <= most:
            unit = common
    return unit or max(1, -(-span // most))


def _greedy(choices: Sequence[Sequence[_Choice]], limit: float) -> int:
    """Return the bytes of an allocation that stays within the limit: steps of the most divergence for a byte first."""
    at = [0] * len(choices)
    while sum(own[now].kld for own, now in zip(choices, at, strict=True)) > limit:
        best, to = max(
            (
                ((own[now].kld - step.kld) / (step.bytes - own[now].bytes), -index, later)
                for index, (own, now) in enumerate(zip(choices, at, strict=True))
                for later, step in enumerate(own[now + 1 :], now + 1)
            ),
            default=(0.0, 0, 0),
        )[1:]
        at[-best] = to
    return sum(own[now].bytes for own, now in zip(choices, at, strict=True))


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
        units = [[-(-(choice.bytes - own[0].bytes) // unit) for choice in own] for own in choices]
        # What is rounded up may not take from an allocation of everything at its best.
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

    def allocation(self, modules: Sequence[ModuleSensitivity], cell: int) -> Allocation:
        """Return the allocation of so many units."""
        picked: list[_Choice] = []
        for row, own, sizes in zip(self.taken[::-1], self.choices[::-1], self.units[::-1], strict=True):
            index = int(row[cell])
            picked.append(own[index])
            cell -= sizes[index]
        picked.reverse()
        rungs = {module.path: choice.rung for module, choice in zip(modules, picked, strict=True)}
        return Allocation(rungs, sum(choice.bytes for choice in picked), sum(choice.kld for choice in picked))
