"""How MLX will make an array that it has not computed yet, as its own export of the graph tells.

The export names operations and what they take, and neither axes nor types: what it says is checked by shapes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import mlx.core as mx

_OPERATION = re.compile(r'^\{ (\d+) \[label ="([^"]*)"', re.ASCII)
_TAKES = re.compile(r'^"([^"]*)" -> (\d+)$', re.ASCII)
_GIVES = re.compile(r'^(\d+) -> "([^"]*)"$', re.ASCII)


@dataclass(frozen=True)
class Operation:
    """An operation of MLX by its name, as `Concatenate`, and the keys of the arrays that it takes, in their order."""

    name: str
    takes: list[str] = field(default_factory=list)


class Graph:
    """The operations on the way to arrays; an array has one key, however many names it is given by."""

    def __init__(self, arrays: Mapping[str, mx.array]) -> None:
        """Read the graph of all arrays at once; nothing is computed."""
        # Names of tensors are a stranger's, so MLX is given numbers.
        self._keys = {identity: f"#{number}" for number, identity in enumerate({id(a): 0 for a in arrays.values()})}
        self._arrays = arrays  # an identity holds only while its array lives
        self._operations: dict[str, Operation] = {}
        self.source: dict[str, str] = {}
        """Paths of the source's parameters by the keys of their arrays, for whoever asks for more than operations."""
        text = io.StringIO()
        # Of several objects for one array of MLX the last gives it its key, the others stay without an operation.
        mx.export_to_dot(text, **{self.key(array): array for array in reversed(list(arrays.values()))})
        self._read(text.getvalue().split("\n"))

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

    def _read(self, lines: Sequence[str]) -> None:
        operations: dict[str, Operation] = {}
        for line in lines:
            if match := _OPERATION.match(line):
                operations[match[1]] = Operation(match[2])
            elif match := _TAKES.match(line):
                operations[match[2]].takes.append(match[1])
            elif match := _GIVES.match(line):
                self._operations[match[2]] = operations[match[1]]
