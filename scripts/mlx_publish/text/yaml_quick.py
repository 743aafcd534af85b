"""YAML as people write recipes, read by libyaml: twenty times as fast as by ruamel.yaml, with the same result.

libyaml speaks YAML 1.1. So this reads only what 1.1 and 1.2 read alike, and gives up at the rest: an anchor that is
used, a tag, a word as `no`, a number in another base, a key that stands twice, anything that is not valid. Whoever
calls then takes ruamel.yaml, which also finds the words for an error.
"""

from __future__ import annotations

import re
from typing import Any

from mlx_publish.text.yaml_bounds import UnboundedYaml, judge

# Line ends of 1.1 that are none in 1.2, a tab, which they allow at different places, a mark and a directive.
_ODD = re.compile(r"[\t\x85\u2028\u2029\ufeff]|^%", re.MULTILINE)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]{0,11})\.[0-9]{1,12}")
# Begins like a word or a path; or like a commit or `4bit`: digits with a letter that no number has.
_WORD = re.compile(r"(?:[A-Za-z/]|\.\.?/)[^\n]*|(?!0[xob])[0-9][0-9A-Za-z._-]*?[ac-dg-mp-zAC-DG-MP-Z][0-9A-Za-z._-]*")
_OTHER = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_TAG = "tag:yaml.org,2002:"


class _GiveUp(Exception):
    """The two versions of YAML may read this differently."""


def quick(text: str) -> tuple[Any, dict[str, int]] | None:
    """Return plain data and the 1-based line of every key path; None where ruamel.yaml has to read the text."""
    try:
        # It comes with huggingface_hub, but need not have been built with libyaml.
        from yaml import CSafeLoader, YAMLError, compose, parse  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        return None
    if _ODD.search(text):
        return None
    lines: dict[str, int] = {}
    try:
        judge(parse(text, Loader=CSafeLoader), "")
        node = compose(text, Loader=CSafeLoader)
        return None if node is None else (_value(node, "", lines, set()), lines)
    except (YAMLError, UnboundedYaml, _GiveUp):
        return None


def _value(node: Any, path: str, lines: dict[str, int], seen: set[int]) -> Any:
    if id(node) in seen:  # an alias
        raise _GiveUp
    seen.add(id(node))
    if node.id == "scalar":
        return _scalar(node)
    if node.id == "sequence" and node.tag == f"{_TAG}seq":
        return [_item(item, f"{path}[{number}]", lines, seen) for number, item in enumerate(node.value)]
    if node.tag != f"{_TAG}map":
        raise _GiveUp
    data: dict[str, Any] = {}
    for name, value in node.value:
        key = _scalar(name) if name.id == "scalar" else None
        if not isinstance(key, str) or key in data:
            raise _GiveUp
        place = f"{path}.{key}" if path else key
        lines[place] = name.start_mark.line + 1
        data[key] = _value(value, place, lines, seen)
    return data


def _item(node: Any, path: str, lines: dict[str, int], seen: set[int]) -> Any:
    lines[path] = node.start_mark.line + 1
    return _value(node, path, lines, seen)


def _scalar(node: Any) -> Any:
    """A value on which 1.2, by the rules below, and 1.1, by the tag that libyaml's side found, agree."""
    text, tag = node.value, node.tag.removeprefix(_TAG)
    if node.style:
        kind, value = "str", text
    elif text in ("true", "false"):
        kind, value = "bool", text == "true"
    elif text in ("", "null", "~"):
        kind, value = "null", None
    elif _INTEGER.fullmatch(text):
        kind, value = "int", int(text)
    elif _FLOAT.fullmatch(text):
        kind, value = "float", float(text)
    elif _WORD.fullmatch(text) and text.lower() not in _OTHER:
        kind, value = "str", text
    else:
        raise _GiveUp
    if tag != kind:
        raise _GiveUp
    return value
