"""The environment of jinja that transformers 5 gives to chat templates, with a guard against giant steps."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, modifies_known_mutable
from jinja2.utils import Namespace

CHARACTERS = 2_000_000


class Refusal(TemplateError):
    """The template itself called raise_exception."""


class Forbidden(SecurityError):
    """The template reached for the interpreter's insides."""


class TooMuch(Exception):
    """The template makes more than it may."""


class Sandbox(ImmutableSandboxedEnvironment):
    """What a template runs in. `now` is its clock, `most` the characters that one `*` or `**` may make."""

    # An operation that makes gigabytes or takes minutes is a single step, during which no other thread runs.
    intercepted_binops = frozenset(("*", "**"))

    def __init__(self, now: datetime, most: int = CHARACTERS) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.most, self.now = most, now
        self.filters["tojson"] = _tojson

        def strftime_now(format: str) -> str:  # noqa: A002  so it is called in transformers
            return self.now.strftime(format)

        def raise_exception(message: object) -> NoReturn:
            raise Refusal(str(message))

        self.globals.update(
            raise_exception=raise_exception, strftime_now=strftime_now, dict=_Dict(), namespace=_Namespace
        )

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse a multiplication or power whose result is too large."""
        if _size(operator, left, right) > self.most:
            raise TooMuch(f"a single {operator} in it makes more than {self.most:,} characters")
        return super().call_binop(context, operator, left, right)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Refuse a look at the interpreter's insides at once; jinja prints nothing and waits for the next step.

        A method that changes its object, as `append`, is harmless: the dialogue that calls it is refused, as in
        transformers.
        """
        if not modifies_known_mutable(obj, attribute):
            raise Forbidden(f"access to attribute {attribute!r} of {type(obj).__name__!r} object is unsafe.")
        return super().unsafe_undefined(obj, attribute)


class _Generation(Extension):
    """The tag around what the assistant says; it leaves no trace in the text."""

    tags = {"generation"}  # noqa: RUF012  jinja declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("body_of"), [], [], body).set_lineno(line)

    def body_of(self, caller: Any) -> Any:
        return caller()


class _Namespace(Namespace):
    """The usual one, but for names that Python keeps to itself."""

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        values = dict(*args, **kwargs)
        for name in values:
            _public(name)
        super().__init__(values)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(_public(name), value)


class _Dict:
    """Stands for `dict`, whose class stays out of reach."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _public(name: Any) -> Any:
    if isinstance(name, str) and name.startswith("_"):
        raise Forbidden(f"a namespace holds no name that starts with an underscore, as {name!r}")
    return name


def _tojson(
    x: Any, ensure_ascii: bool = False, indent: int | str | None = None,
    separators: tuple[str, str] | None = None, sort_keys: bool = False,
) -> str:  # fmt: skip
    """Write plain JSON: jinja's own filter escapes for HTML."""
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _size(operator: str, left: Any, right: Any) -> int:
    """Estimate the characters or items that an operator is going to make; 0 where that does not matter."""
    if isinstance(left, int) and isinstance(right, int):
        bits = (left.bit_length() - 1) * right if operator == "**" else left.bit_length() + right.bit_length()
        return bits // 3
    times = next((part for part in (left, right) if isinstance(part, int)), 0)
    return times * next((len(part) for part in (left, right) if isinstance(part, (str, list, tuple))), 0)
