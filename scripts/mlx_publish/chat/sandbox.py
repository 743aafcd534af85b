"""The environment of jinja that transformers 5 gives to chat templates, with a guard against giant steps."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Undefined
from jinja2.sandbox import modifies_known_mutable
from jinja2.utils import Namespace

from mlx_publish.text.jinja import BoundedSandbox

CHARACTERS = 2_000_000


class Refusal(TemplateError):
    """The template itself called raise_exception."""


class Forbidden(SecurityError):
    """The template reached for the interpreter's insides."""


class TooMuch(Exception):
    """The template makes more than it may."""


class Sandbox(BoundedSandbox):
    """What a template runs in. `now` is its clock, `most` the characters that one `*` or `**` may make."""

    def __init__(self, now: datetime, most: int = CHARACTERS) -> None:
        super().__init__(most, extensions=[_Generation, loopcontrols])
        self.now = now
        self.filters["tojson"] = _tojson

        def strftime_now(format: str) -> str:  # noqa: A002  so it is called in transformers
            return self.now.strftime(format)

        def raise_exception(message: object) -> NoReturn:
            raise Refusal(str(message))

        self.globals.update(
            raise_exception=raise_exception, strftime_now=strftime_now, dict=_Dict(), namespace=_Namespace
        )

    def too_much(self, operator: str) -> TooMuch:
        """Return the error of a multiplication or power."""
        return TooMuch(f"a single {operator} in it makes more than {self.most:,} characters")

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
        return nodes.CallBlock(self.call_method("content"), [], [], body).set_lineno(line)

    def content(self, caller: Any) -> Any:
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
    x: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write plain JSON: jinja's own filter escapes for HTML."""
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
