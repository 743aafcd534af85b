"""YAML of strangers is judged by its events before anything is built of it: size, depth, number of nodes, anchors.

A few lines of aliases stand for billions of values, and some thousand brackets for an end of the stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from mlx_publish.errors import BadInput, Place
from mlx_publish.text.bounds import YAML_BYTES, YAML_DEEPEST, YAML_NODES

# A whole number in any of the forms of YAML 1.1 and 1.2.
_NUMBER = re.compile(r"[-+]?(?:0[xob][0-9a-fA-F_]{41,}|[0-9_:]{81,})")
_SHOWN = 40


class UnboundedYaml(BadInput):
    """YAML that costs more than a recipe, a policy or a card may."""


def judge_size(text: str, file: str) -> None:
    """Raise `UnboundedYaml` for a text that is too large to be looked at."""
    if len(text) > YAML_BYTES:
        raise UnboundedYaml(
            f"is larger than {YAML_BYTES:,} characters, the most that is read", place=file,
            remedy="Leave out what does not belong there.",
        )  # fmt: skip


def judge(events: Iterable[Any], file: str, most: int = YAML_NODES) -> None:
    """Raise `UnboundedYaml` at the line of what is not read; `events` are those of libyaml or of ruamel.yaml."""
    nodes = depth = 0
    for event in events:
        kind = type(event).__name__
        if kind in ("SequenceEndEvent", "MappingEndEvent"):
            depth -= 1
        elif kind in ("SequenceStartEvent", "MappingStartEvent"):
            nodes, depth = nodes + 1, depth + 1
        elif kind in ("ScalarEvent", "AliasEvent"):
            nodes += 1
        else:
            continue
        if said := _anchored(event, kind) or _too_much(nodes, depth, most):
            line = event.start_mark.line + 1
            raise UnboundedYaml(said[0], place=Place(file, line), remedy=said[1])


def written_out(events: Iterable[Any]) -> Iterator[Any]:
    """Put what an alias repeats in its place, so that it counts as much for `judge`, and take the names away.

    PyYAML writes an alias wherever a list is the very same as another. What is repeated may repeat nothing itself:
    those names stay, and are refused.
    """
    known: dict[str, list[Any]] = {}
    whole: list[Any] | None = None
    name, depth = "", 0
    for event in events:
        kind, anchor = type(event).__name__, str(getattr(event, "anchor", None) or "")
        if kind == "AliasEvent" and whole is None and anchor in known:
            yield from known[anchor]
            continue
        if whole is None and anchor and kind != "AliasEvent":
            name, whole, event.anchor = anchor, [], None
        if whole is not None:
            whole.append(event)
            depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
            if not depth:
                known[name], whole = whole, None
        yield event


def _anchored(event: Any, kind: str) -> tuple[str, str] | None:
    anchor = getattr(event, "anchor", None)
    if anchor is not None:
        mark = "*" if kind == "AliasEvent" else "&"
        return f"{mark}{str(anchor)[:_SHOWN]}: anchors and aliases are not read", "Write the values out."
    if kind != "ScalarEvent" or event.style in ("'", '"', "|", ">"):
        return None
    if event.value == "<<":
        return "<<: merge keys are not read", "Write the keys out."
    if _NUMBER.match(event.value):
        return f"a number of {len(event.value):,} digits: {event.value[:_SHOWN]}…", "Correct it, or put it in quotes."
    return None


def _too_much(nodes: int, depth: int, most: int) -> tuple[str, str] | None:
    if depth > YAML_DEEPEST:
        return f"is nested deeper than {YAML_DEEPEST} levels", "Leave out what does not belong there."
    if nodes > most:
        return f"has more than {most:,} values", "Leave out what does not belong there."
    return None
