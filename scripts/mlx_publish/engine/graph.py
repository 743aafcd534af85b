"""How MLX will make an array that it has not computed yet, as its own export of the graph tells.

The export names operations and what they take, and neither axes nor types: what it says is checked by shapes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import mlx.core as mx

_OPERATION = re.compile(r'^\{ (\d+) \[label ="([^"]*)"', re.ASCII)
_TAKES = re.compile(r'^"([^"]*)" -> (\d+)$', re.ASCII)
_GIVES = re.compile(r'^(\d+) -> "([^"]*)"$', re.ASCII)

_MOST = 1000
"""Names that MLX takes at once; its bindings end at 1,024."""


@dataclass(frozen=True)
class Operation:
    """An operation of MLX by its name, as `Concatenate`, and the keys of the arrays that it takes, in their order."""

    name: str
    takes: list[str] = field(default_factory=list)


class Graph:
    """The operations on the way to arrays; an array has one key, however many names it is given by."""

    def __init__(self, arrays: Mapping[str, mx.array]) -> None:
        """Read the graph of all arrays; nothing is computed.

        A name is a word for what the array is, a blank and its path: what is made of each other should share the path
        of its module.
        """
        # Names of tensors are a stranger's, so MLX is given numbers.
        self._keys = {identity: f"#{number}" for number, identity in enumerate({id(a): 0 for a in arrays.values()})}
        self._arrays = arrays  # an identity holds only while its array lives
        self._operations: dict[str, Operation] = {}
        self.source: dict[str, str] = {}
        """Paths of the source's parameters by the keys of their arrays, for whoever asks for more than operations."""
        self._join([_Part(self._exported(part)) for part in _parts(arrays)])

    def _exported(self, arrays: Iterable[mx.array]) -> str:
        text = io.StringIO()
        # Of several objects for one array of MLX the last gives it its key, the others stay without an operation.
        mx.export_to_dot(text, **{self.key(array): array for array in reversed(list(arrays))})
        return text.getvalue()

    def _join(self, parts: Sequence[_Part]) -> None:
        """Take the operations of all parts. One that gives a single array is known again in another by its number."""
        known = {
            number: names[0]
            for part in parts
            for number, names in part.gives.items()
            if len(names) == 1 and names[0].startswith("#")
        }
        for place, part in enumerate(parts):
            keys = {
                name: name
                if name.startswith("#")
                else (known.get(number) if len(names) == 1 else None) or f"{place} {name}"
                for number, names in part.gives.items()
                for name in names
            }
            for number, operation in part.operations.items():
                takes = [
                    keys.get(name, name if name.startswith("#") else f"{place} {name}") for name in operation.takes
                ]
                for name in part.gives.get(number, ()):
                    self._operations[keys[name]] = Operation(operation.name, takes)

    def key(self, array: mx.array) -> str:
        """Return the key of one of the arrays."""
        return self._keys[id(array)]

    def made_by(self, key: str) -> Operation:
        """Return the operation that makes an array; one without a name where it is computed already."""
        return self._operations.get(key, Operation(""))

    def form(self, key: str) -> tuple[object, ...]:
        """Return the operations from the source to an array: two of one form are made alike."""
        known: dict[str, tuple[object, ...]] = {}

        def of(key: str) -> tuple[object, ...]:
            if key not in known:
                operation = self.made_by(key)
                inner = () if key in self.source else tuple(of(taken) for taken in operation.takes)
                known[key] = (self.source.get(key, ""), operation.name if inner else "", inner)
            return known[key]

        return of(key)

    def leaves(self, key: str, among: Mapping[str, str]) -> Iterator[str]:
        """Yield the values of `among` by the keys of the arrays that an array is made of, itself included."""
        waiting, passed = [key], set[str]()
        while waiting:
            now = waiting.pop()
            if now in passed:
                continue
            passed.add(now)
            if now in among:
                yield among[now]
            else:
                waiting += self.made_by(now).takes


def _key(name: str, known: str | None, place: int) -> str:
    """Return the key of an array that a part calls `name`: its own, the one it has elsewhere, or one of the part."""
    return name if name.startswith("#") else known or f"{place} {name}"


class _Part:
    """One export: its operations by their numbers, and the names of the arrays that each gives."""

    def __init__(self, text: str) -> None:
        self.operations: dict[str, Operation] = {}
        self.gives: dict[str, list[str]] = {}
        for line in text.split("\n"):
            if match := _OPERATION.match(line):
                self.operations[match[1]] = Operation(match[2])
            elif match := _TAKES.match(line):
                self.operations[match[2]].takes.append(match[1])
            elif match := _GIVES.match(line):
                self.gives.setdefault(match[1], []).append(match[2])


def _parts(arrays: Mapping[str, mx.array]) -> Iterator[list[mx.array]]:
    """Yield all arrays, so many at once as MLX takes names, those of one module together."""
    modules = {id(array): name.split(" ")[1].rpartition(".")[0] or name for name, array in arrays.items()}
    modules |= {id(array): name.split(" ")[1] for name, array in arrays.items() if name.count(" ") > 1}
    groups: dict[str, dict[int, mx.array]] = {}
    for array in arrays.values():
        groups.setdefault(modules[id(array)], {})[id(array)] = array
    part: list[mx.array] = []
    for group in groups.values():
        if part and len(part) + len(group) > _MOST:
            yield part
            part = []
        part += group.values()
    for first in range(0, len(part), _MOST):
        yield part[first : first + _MOST]
