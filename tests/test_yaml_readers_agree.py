"""Our reader of YAML and ruamel.yaml, another one of YAML 1.2, read the same: values, their types, and lines."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MantissaNoDotYAML1_1Warning, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from hook_trees import ACCEPT, RECIPE
from hostile import HOSTILE
from mlx_publish.errors import BadInput
from mlx_publish.text.yaml import parse_yaml

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef" * 2 + "01234567"
# Where YAML 1.1 and 1.2 part, and what stands in recipes.
SCALARS = (
    "no", "No", "NO", "yes", "on", "off", "y", "n", "true", "True", "TRUE", "false", "null", "Null", "~", "", "0", "-0", "+1",
    "12", "012", "0o14", "0x1F", "0b11", "1_000", "1.5", "-1.5", ".5", "5.", "1e3", "1.0e3", "1e5", ".inf", "-.inf", ".nan",
    "12:30", "12:30:45", "2026-11-26", "2026-11-26 10:00:00", "=", "<<", "1.2.3", "4bit", "8bit-gs32", "mxfp4", "nvfp4",
    "mixed_3_6", COMMIT, "1234567890" * 4, "12e4567890" * 4, "0e" + "1" * 38, "00000000000000000000", "9" * 18, "9" * 19,
    "1" * 30, "0.1", "0.5", "00.5", "-", "- a", "a: b", "a:b", "a #b", "a#b", "#b", "'no'", '"no"', "'1'", '"\\u0031"',
    "'a''b'", '"a\\nb"', "!!str no", "!!int '1'", "!x a", "&a b", "*a", "@a", "`a`", "%a", "|", ">", "{a: b}", "[a, no]", "{}", "[]",
    "{source}", "/abs/path", "./here", "../there", "~/home", "folder:out/{source}", "a/b", "lab/{source}-{variant}",
    "a\tb", "\ta", "a\t", "\u00e4", "\U0001f311", "a\u2028b", "a\x85b", "\ufeff", "\xa0", "Infinity", "NaN", "0xg", "1a", "1_a", "e3", "E3",
)  # fmt: skip
SHAPES = (
    "{}\n",
    "key: {}\n",
    "key: {}",
    "- {}\n",
    "key:\n  - {}\n  - b\n",
    "key: [{}, b]\n",
    "key: {{a: {}, c: d}}\n",
    "{}: value\n",
    "# comment\n\nkey: {}  # more\nother: x\n",
    "a:\n  b:\n    c: {}\n  d: e\nf: g\n",
    "key: |\n  {}\n",
    "key: >-\n  {}\n  more\n",
    "---\nkey: {}\n...\n",
    "key: {}\n---\nkey: b\n",
    "key: a\nkey: {}\n",
    "key: '{}'\n",
    'key: "{}"\n',
    "? {}\n: b\n",
    "key:\n- {}\n- c: d\n",
    "key: {}\r\nb: c\r\n",
    "%YAML 1.1\n---\nkey: {}\n",
    "base: &b {{x: {}}}\nkey:\n  <<: *b\n",
)


REFUSED = (
    "key: {}\n---\nkey: b\n",
    "key: a\nkey: {}\n",
    "%YAML 1.1\n---\nkey: {}\n",
    "base: &b {{x: {}}}\nkey:\n  <<: *b\n",
)
# What ruamel.yaml keeps as an object of its own, reads by the 1.1 that a directive asks for, or takes for a line end.
OWN_WAYS = re.compile(r"%YAML|[\x85\u2028]|(^|[\s\[{:-])(=|!)", re.MULTILINE)


def typed(value: Any) -> Any:
    """Return the value with its types, so that 1, True and 1.0 are three things."""
    if isinstance(value, Mapping):
        return {str(key): typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    kind = (
        bool
        if isinstance(value, ScalarBoolean)
        else next((kind for kind in (bool, int, float, str, datetime) if isinstance(value, kind)), type(value))
    )
    return kind, repr(kind(value)) if kind in (bool, int, float, str) else str(value)


def lines_of(value: object, path: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(value, CommentedMap):
        for key, item in value.items():
            below = f"{path}.{key}" if path else str(key)
            yield below, value.lc.data[key][0] + 1
            yield from lines_of(item, below)
    elif isinstance(value, CommentedSeq):
        for index, item in enumerate(value):
            yield f"{path}[{index}]", value.lc.data[index][0] + 1
            yield from lines_of(item, f"{path}[{index}]")


def compare(text: str) -> bool:
    """Tell whether both read the text; they then read the same."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MantissaNoDotYAML1_1Warning)
            other = YAML(typ="rt").load(text)
        data, lines = parse_yaml(text, "x.yaml")
    except (BadInput, YAMLError, ValueError, IndexError, AttributeError, TypeError, NotImplementedError):
        return False
    if OWN_WAYS.search(text):
        return False
    assert typed(data) == typed(other), text
    assert lines == dict(lines_of(other)), text
    return True


@pytest.mark.parametrize("shape", SHAPES)
def test_every_scalar_at_every_place(shape: str) -> None:
    scalars = (*SCALARS, *(text for text in HOSTILE if len(text) < 100))
    read = [compare(shape.format(scalar)) for scalar in scalars]
    assert any(read) == (shape not in REFUSED)


@pytest.mark.parametrize("seed", range(8))
def test_recipes_with_slips_of_the_hand(seed: int) -> None:
    """Characters and lines that are lost, doubled, swapped or put in."""
    chance = random.Random(seed)  # noqa: S311  to be repeated, not to be secret
    whole = RECIPE.format(number=3, commit=COMMIT, accept=ACCEPT)
    read = 0
    for _ in range(150):
        text = whole
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(text))
            to = min(len(text), at + chance.randint(0, 6))
            text = (
                text[:at]
                + chance.choice(("", text[at:to] * 2, chance.choice(SCALARS), chance.choice(" :-#\n'\"[]{},&*!|>%@`")))
                + text[to:]
            )
        read += compare(text)
    assert read


def test_recipes_as_people_write_them_are_read_by_both() -> None:
    assert compare(RECIPE.format(number=3, commit=COMMIT, accept=ACCEPT))
    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    assert recipes
    assert all(compare(path.read_text(encoding="utf-8")) for path in recipes)
