"""The inside of the child for minijinja: `python -m mlx_publish.chat.minijinja_child`.

The environment is the one that servers written in Rust make for chat templates (mistral.rs, text-generation-inference,
Dynamo): blocks trimmed as transformers does, Python's methods where the engine knows them, `raise_exception`,
`strftime_now`, loop controls, and a `tojson` as transformers has it, because the engine's own escapes `<` and `'`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import minijinja

from mlx_publish.children.serving import Tell, serve

# The engine counts the line that stands before the template.
_PLACE = re.compile(r" \(in <string>:\d+\)$")
LONGEST_ERROR = 500


class Refusal(Exception):
    """The template refused the messages by raise_exception."""


def do(order: dict[str, Any], tell: Tell) -> None:
    """Render each request and tell its answer, after a first one which says that the engine was loaded."""
    tell("loaded")
    environment = make_environment(datetime.fromisoformat(order["now"]))
    for number, context in order["requests"]:
        tell(cut(answer(environment, order["templates"][number], context, order["longest"])))


def make_environment(now: datetime) -> minijinja.Environment:
    """Return an environment whose clock stands at `now`."""

    def refuse(message: str) -> str:
        raise Refusal(message)

    functions: dict[str, Callable[[str], str]] = {"raise_exception": refuse, "strftime_now": now.strftime}
    return minijinja.Environment(
        trim_blocks=True, lstrip_blocks=True, pycompat=True, globals=functions, filters={"tojson": _tojson}
    )


def answer(
    environment: minijinja.Environment, template: str, context: Mapping[str, object], longest: int
) -> dict[str, Any]:
    """Render once; return the text of at most `longest` characters, or the error with its kind and its line."""
    try:
        text = environment.render_str(_assignments(context) + template)
    except Refusal as refusal:
        return {"error": str(refusal), "kind": "refused"}
    except minijinja.TemplateError as error:
        return {"error": _PLACE.sub("", error.message), "kind": "broken", "line": max(0, (error.line or 0) - 1)}
    except Exception as error:  # noqa: BLE001  what tojson and strftime_now raise comes through as it is
        return {"error": f"{type(error).__name__}: {error}", "kind": "broken"}
    if len(text) > longest:
        return {"error": f"it wrote more than {longest:,} characters", "kind": "broken"}
    return {"text": text}


def cut(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an answer with its error cut, for a template may make one of any length."""
    return {**entry, "error": entry["error"][:LONGEST_ERROR]} if "error" in entry else entry


def _assignments(context: Mapping[str, object]) -> str:
    """Return the context as a line before the template.

    Values that come from Python keep Python's methods in this binding, as `.append()`; clients in Rust have values of
    the engine. The line ends with the newline that trim_blocks takes away, so the template still begins a line.
    """
    lines = (f"{{% set {name} = {_literal(value)} %}}" for name, value in context.items() if name.isidentifier())
    return "".join(lines) + "{# #}\n"


def _literal(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(str(key))}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else json.dumps(value)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


if __name__ == "__main__":
    serve(do)
