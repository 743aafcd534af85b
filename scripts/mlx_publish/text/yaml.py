"""YAML 1.2 of strangers as plain data, with the line of every key, within bounds.

libyaml, by PyYAML, parses into events. They are counted as they come, so a few lines of aliases that stand for billions
of values, or some thousand brackets, cost no more than their text. Scalars are resolved here: PyYAML would read them as
YAML 1.1, where `no` is a boolean and 012 is ten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from mlx_publish.errors import BadInput, Place
from mlx_publish.text.bounds import YAML_BYTES, YAML_DEEPEST, YAML_NODES

# PyYAML need not have been built with libyaml: its own parser reads the same, slowly.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_NUMERIC = frozenset("-+.0123456789")
_INTEGER = re.compile(r"[-+]?(?:0b[01][01_]*|0o[0-7][0-7_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|[0-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?)"
)
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES = {"0b": 2, "0o": 8, "0x": 16}
# A whole number in any of the forms of YAML 1.1 and 1.2.
_LONG = re.compile(r"[-+]?(?:0[xob][0-9a-fA-F_]{41,}|[0-9_:]{81,})")
# Whatever may be a number or a boolean in a flag; YAML has no others with such characters, or as long.
_FLAG = re.compile(r"[\w.+-]{1,60}")
# Line ends of YAML 1.1, and so of libyaml, that are ordinary characters in 1.2: private ones stand in for them.
_ORDINARY, _STAND_INS = "\x85\u2028\u2029", "\U0010fff0\U0010fff1\U0010fff2"
_KINDS = {"NoneType": "null", "date": "timestamp", "datetime": "timestamp"}
_QUOTED = frozenset("'\"|>")
_SHOWN, _LONGEST_MESSAGE = 40, 200
_LESS = "Remove what does not belong there."


class InvalidYaml(BadInput):
    """Text that is not YAML; the line is 0 where it is unknown."""

    def __init__(self, message: str, file: str, line: int, *, remedy: str = "Correct the line.") -> None:
        super().__init__(f"not valid YAML: {message}", place=Place(file, line), remedy=remedy)


class UnboundedYaml(BadInput):
    """YAML that costs more than a recipe, a policy or a card may."""


def load_yaml(path: Path) -> tuple[Any, dict[str, int]]:
    """Read a file into plain data and the line of every key path. `BadInput` names file and line of what is wrong."""
    try:
        text = _text(path)
    except UnicodeDecodeError as error:
        raise InvalidYaml(error.reason, str(path), 0, remedy="") from error
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", place=str(path)) from error
    return parse_yaml(text, str(path))


def parse_yaml(
    text: str, file: str, *, most: int = YAML_NODES, aliases: bool = False, largest: int = YAML_BYTES
) -> tuple[Any, dict[str, int]]:
    """Parse one document into plain data and the 1-based line of every key path.

    `file` is what messages call it, `most` the number of values it may have, `largest` that of its characters. With
    `aliases`, a value may repeat another one that repeats nothing itself, as PyYAML writes lists that are the same.
    """
    if len(text) > largest:
        message = f"is larger than {largest:,} characters, the limit"
        raise UnboundedYaml(message, place=file, remedy=_LESS)
    try:
        events = events_of(text)
        return _Reader(_bounded(_written_out(events) if aliases else events, file, most), file).document()
    except yaml.MarkedYAMLError as error:
        error = _worded(text, error, file, most)
        mark = error.problem_mark or error.context_mark
        raise InvalidYaml(error.problem, file, mark.line + 1 if mark else 0) from error
    except (yaml.YAMLError, UnicodeError) as error:  # characters that no YAML has
        raise InvalidYaml(str(error)[:_LONGEST_MESSAGE], file, 0, remedy="") from error


def scalar(text: str) -> Any:
    """Read text of a flag or a form as one scalar: `4` is a number, `no` and `null` are text."""
    if not _FLAG.fullmatch(text.strip()):
        return text
    try:
        value = _resolved(text.strip())
    except ValueError:
        return text
    return value if isinstance(value, (bool, int, float)) else text


def key_path(parts: tuple[str | int, ...]) -> str:
    """Write a path of keys as `variants[0].bits`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _text(path: Path) -> str:
    """Return the text of a file; read no more than it takes to see that it is too large."""
    with path.open("rb") as file:
        content = file.read(4 * YAML_BYTES + 1)
    if len(content) > 4 * YAML_BYTES:
        return content.decode("latin-1")
    return content.decode("utf-8")


def _worded(text: str, error: yaml.MarkedYAMLError, file: str, most: int) -> yaml.MarkedYAMLError:
    """Return the error in the words of PyYAML's own parser, which name what stands there; libyaml's do not."""
    try:
        for _ in _bounded(events_of(text, yaml.SafeLoader), file, most):
            pass
    except yaml.MarkedYAMLError as worded:
        return worded
    except yaml.YAMLError:
        pass
    return error


class _Reader:
    """Builds the data of one document from events."""

    def __init__(self, events: Iterator[Any], file: str) -> None:
        self.events, self.file = events, file
        self.lines: dict[str, int] = {}

    def document(self) -> tuple[Any, dict[str, int]]:
        """Return the data and the lines; None for a text without a document."""
        data = None
        next(self.events)  # the start of the stream
        if isinstance(next(self.events), yaml.DocumentStartEvent):
            data = self._value(next(self.events), "")
            next(self.events)  # the document's end
            if not isinstance(second := next(self.events), yaml.StreamEndEvent):
                raise InvalidYaml("but found another document", self.file, _line(second))
        return data, self.lines

    def _value(self, event: Any, path: str) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"{_TAG}map" if mapping else f"{_TAG}seq"):
            raise self._unknown_tag(event)
        return self._mapping(path) if mapping else self._sequence(path)

    def _sequence(self, path: str) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            place = f"{path}[{len(items)}]"
            self.lines[place] = _line(event)
            items.append(self._value(event, place))
        return items

    def _mapping(self, path: str) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise InvalidYaml("a key is a list or a mapping", self.file, _line(event))
            key = str(self._scalar(event))
            place, line = f"{path}.{key}" if path else key, _line(event)
            self.lines[place] = line
            value = self._value(next(self.events), place)
            if key in data:
                raise InvalidYaml(
                    f'found duplicate key "{key[:_SHOWN]}" with value "{str(value)[:_SHOWN]}" '
                    f'(original value: "{str(data[key])[:_SHOWN]}")',
                    self.file,
                    line,
                )
            data[key] = value
        return data

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.tag in ("!", f"{_TAG}str") or (event.tag is None and event.style in _QUOTED):
            return text
        try:
            value = _resolved(text)
        except ValueError as error:
            raise InvalidYaml(str(error), self.file, _line(event)) from error
        kind = {"NoneType": "null", "date": "timestamp", "datetime": "timestamp"}.get(
            type(value).__name__, type(value).__name__
        )
        if event.tag not in (None, f"{_TAG}{kind}"):
            raise self._unknown_tag(event)
        return value

    def _unknown_tag(self, event: Any) -> InvalidYaml:
        tag = event.tag.replace(_TAG, "!!")[:_SHOWN]
        return InvalidYaml(f"the tag {tag} is not read, or does not fit its value", self.file, _line(event))


def _resolved(text: str) -> Any:
    """Return what a plain scalar is in YAML 1.2. `ValueError` for a date that does not exist."""
    if text[:1] not in _NUMERIC:
        return _WORDS.get(text, text)
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("-+").replace("_", "")
        number = int(digits, _BASES.get(digits[:2], 10))
        return -number if text[0] == "-" else number
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "").lower())
    if yaml.SafeLoader.timestamp_regexp.match(text):
        return yaml.constructor.SafeConstructor().construct_yaml_timestamp(yaml.ScalarNode(f"{_TAG}timestamp", text))
    return text


def events_of(text: str, loader: Any = _LOADER) -> Iterator[Any]:
    """Parse into events; what ends a line in YAML 1.1 alone ends none."""
    hidden = any(character in text for character in _ORDINARY)
    for event in yaml.parse(text.translate(str.maketrans(_ORDINARY, _STAND_INS)) if hidden else text, Loader=loader):
        if hidden and isinstance(event, yaml.ScalarEvent):
            event.value = event.value.translate(str.maketrans(_STAND_INS, _ORDINARY))
        yield event


def _bounded(events: Iterable[Any], file: str, most: int) -> Iterator[Any]:
    """Hand events on; raise `UnboundedYaml` at the line of what is not read."""
    nodes = depth = 0
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            depth += isinstance(event, yaml.CollectionStartEvent)
            if problem := _refusal(event, nodes, depth, most):
                raise UnboundedYaml(problem[0], place=Place(file, _line(event)), remedy=problem[1])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        yield event


def _written_out(events: Iterable[Any]) -> Iterator[Any]:
    """Put what an alias repeats in its place, so that it counts as much for `_bounded`, and drop the anchors.

    What is repeated may repeat nothing itself: those anchors stay, and are refused.
    """
    known: dict[str, list[Any]] = {}
    whole: list[Any] | None = None
    name, depth = "", 0
    for event in events:
        anchor = str(getattr(event, "anchor", None) or "")
        if isinstance(event, yaml.AliasEvent) and whole is None and anchor in known:
            yield from known[anchor]
            continue
        if whole is None and anchor and not isinstance(event, yaml.AliasEvent):
            name, whole, event.anchor = anchor, [], None
        if whole is not None:
            whole.append(event)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if not depth:
                known[name], whole = whole, None
        yield event


def _refusal(event: Any, nodes: int, depth: int, most: int) -> tuple[str, str] | None:
    """Return why a value is not read, and the remedy."""
    if event.anchor is not None:
        mark = "*" if isinstance(event, yaml.AliasEvent) else "&"
        return f"{mark}{event.anchor[:_SHOWN]}: anchors and aliases are not supported", "Write the values out."
    plain = isinstance(event, yaml.ScalarEvent) and event.style not in _QUOTED
    if (plain and event.value == "<<") or getattr(event, "tag", None) == f"{_TAG}merge":
        return "<<: merge keys are not supported", "Write the keys out."
    if plain and _LONG.match(event.value):
        return f"a number of {len(event.value):,} digits: {event.value[:_SHOWN]}…", "Correct it, or put it in quotes."
    if depth > YAML_DEEPEST:
        return f"is nested deeper than {YAML_DEEPEST} levels", _LESS
    return (f"has more than {most:,} values", _LESS) if nodes > most else None


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
