"""Names beside the points of a chart, none over another, whatever font the reader's machine has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mlx_publish.card.shapes import Box, Line, cross, passes, text_width

_DIRECTIONS = (
    # The nicest first: what it costs to stand there, in the picture's units, and the direction.
    (0, 1, 0), (2, 0, -1), (3, -1, 0), (3, 0, 1), (4, 1, -1), (4, 1, 1), (5, -1, -1), (5, -1, 1),
    (9, 2, -1), (9, 2, 1), (9, -2, -1), (9, -2, 1), (9, 1, -2), (9, 1, 2), (9, -1, -2), (9, -1, 2),
)  # fmt: skip
_STEP, _LEADER_FROM = 6, 10
_LEADER, _CROSSING, _NOWHERE = 20, 200, 5000
_TRIES, _ROUNDS = 6, 4


@dataclass(frozen=True)
class Point:
    """A point that wants a name beside it."""

    x: float
    y: float
    radius: float
    text: str
    bold: bool = False

    @property
    def box(self) -> Box:
        """What the point itself covers, with a little air."""
        reach = self.radius + 2
        return Box(self.x - reach, self.y - reach, self.x + reach, self.y + reach)


@dataclass(frozen=True)
class Label:
    """Where a name stands: `x` and the baseline `y` as SVG's text takes them, and the room it may fill."""

    text: str
    x: float
    y: float
    anchor: str
    box: Box
    leader: Line | None = None


Choice = tuple[float, Label | None]
"""What it costs to put a name there, and where; None is to leave it out."""


def place(points: Sequence[Point], size: float, bounds: Box, avoid: Sequence[Box] = ()) -> list[Label | None]:
    """Find a place for the name of each point.

    No label is over another label, over a point or out of bounds; `avoid` is crossed only where nothing else is left.
    A point in such a crowd that no place is left gets None.
    """
    choices = [_choices(point, points, size, bounds, avoid) for point in points]
    tries = [_settled(choices, order) for order in _orders(points)]
    return min(tries, key=lambda found: found[0], default=(0.0, []))[1]


def _orders(points: Sequence[Point]) -> Iterator[list[int]]:
    """Orders of choosing: who is first decides how well the others can stand, so several are tried, bold ones first."""
    indices = sorted(range(len(points)), key=lambda index: not points[index].bold)
    for first in range(min(len(points), _TRIES)):
        yield indices[first:] + indices[:first]
        yield indices[first::-1] + indices[:first:-1]


def _choices(point: Point, points: Sequence[Point], size: float, bounds: Box, avoid: Sequence[Box]) -> list[Choice]:
    """Return the places for a name when no other name is there, with what each costs, cheapest first."""
    boxes = [other.box for other in points]
    others = [box for box in boxes if box != point.box]
    choices: list[Choice] = []
    for price, label in _candidates(point, size):
        if label.box.within(bounds) and not any(label.box.meets(box) for box in boxes):
            crossed = sum(label.box.meets(bar) for bar in avoid) + sum(passes(label.leader, box) for box in others)
            choices.append((price + _CROSSING * crossed, label))
    nowhere = (_NOWHERE * (1000 if point.bold else 1), None)
    return [*sorted(choices, key=lambda choice: choice[0]), nowhere]


def _candidates(point: Point, size: float) -> Iterator[tuple[float, Label]]:
    """Places around the point in growing rings; a name in bold stays close to its point."""
    width = text_width(point.text, size, bold=point.bold)
    for ring in range(25):
        for price, right, down in _DIRECTIONS:
            far, length = ring * _STEP, math.hypot(right, down)
            # Rounded, so that no machine's last digit decides between two places that cost the same.
            label = _beside(point, round(right / length, 3), round(down / length, 3), far, size, width)
            yield price + (6 if point.bold else 1) * far + (_LEADER if label.leader else 0), label


def _settled(choices: Sequence[Sequence[Choice]], order: Sequence[int]) -> tuple[float, list[Label | None]]:
    """Let the points choose in turn until none wants to move, and return what it costs in all, and the labels."""
    found: dict[int, Choice] = {}
    for _ in range(_ROUNDS):
        before = dict(found)
        for index in order:
            others = [label for at, (_, label) in found.items() if label and at != index]
            found[index] = _cheapest(choices[index], others)
        if found == before:
            break
    return sum(cost for cost, _ in found.values()), [found[index][1] for index in range(len(choices))]


def _cheapest(choices: Sequence[Choice], others: Sequence[Label]) -> Choice:
    """Return the best of a point's places beside the labels of the others."""
    least, best = math.inf, None
    for price, label in choices:
        if price >= least:
            break
        if label and any(label.box.meets(other.box) for other in others):
            continue
        cost = price + _CROSSING * sum(_entangled(label, other) for other in others if label)
        if cost < least:
            least, best = cost, label
    return least, best


def _entangled(one: Label, other: Label) -> bool:
    """Tell whether the leader of one crosses the other or its leader."""
    return passes(one.leader, other.box) or passes(other.leader, one.box) or cross(one.leader, other.leader)


def _beside(point: Point, right: float, down: float, far: float, size: float, width: float) -> Label:
    """Return the label that stands in a direction, so far from where it would touch the point."""
    reach = point.radius + 4 + far
    x, y = point.x + right * reach, point.y + down * reach
    left = x if right > 0.1 else x - width if right < -0.1 else x - width / 2
    top = y - size * (0.6 - 0.6 * down)
    box = Box(left, top - 1, left + width, top + 1.2 * size + 1)
    anchor = "start" if right > 0.1 else "end" if right < -0.1 else "middle"
    label = Label(point.text, x, top + 0.95 * size, anchor, box)
    if far < _LEADER_FROM:
        return label
    near = point.radius + 1
    return replace(label, leader=(point.x + right * near, point.y + down * near, x - 2 * right, y - 2 * down))
