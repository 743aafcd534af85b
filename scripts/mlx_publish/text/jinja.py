"""The sandbox that templates of others run in: those of chats and those of cards."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which one `*` or `**` makes at most `most` characters, items or digits.

    One that makes gigabytes or takes minutes is a single step, in which no thread of this process gets a word in.
    """

    intercepted_binops = frozenset(("*", "**"))

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, **options)
        self.most = most

    @abstractmethod
    def too_much(self, operator: str) -> BaseException:
        """Return what is raised where an operator makes more."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse a multiplication or power whose result is too large."""
        if _size(operator, left, right) > self.most:
            raise self.too_much(operator)
        return super().call_binop(context, operator, left, right)


def _size(operator: str, left: Any, right: Any) -> int:
    """Estimate how many characters, items or digits an operator makes; 0 where that does not matter."""
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**":
            return left.bit_length() * right // 3 if abs(left) > 1 else 0
        return (left.bit_length() + right.bit_length()) // 3
    times = next((part for part in (left, right) if isinstance(part, int)), 0)
    return times * next((len(part) for part in (left, right) if isinstance(part, (str, bytes, list, tuple))), 0)
