"""The quick reader of YAML gives up, or reads the same as the full one: values, their types, and lines."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from hook_trees import ACCEPT, RECIPE
from hostile import HOSTILE
from mlx_publish.errors import BadInput
from mlx_publish.text.yaml_full import full
from mlx_publish.text.yaml_quick import quick

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
    "{}\n", "key: {}\n", "key: {}", "- {}\n", "key:\n  - {}\n  - b\n", "key: [{}, b]\n", "key: {{a: {}, c: d}}\n", "{}: value\n",
    "# comment\n\nkey: {}  # more\nother: x\n", "a:\n  b:\n    c: {}\n  d: e\nf: g\n", "key: |\n  {}\n", "key: >-\n  {}\n  more\n",
    "---\nkey: {}\n...\n", "key: {}\n---\nkey: b\n", "key: a\nkey: {}\n", "key: '{}'\n", 'key: "{}"\n', "? {}\n: b\n", "key:\n- {}\n- c: d\n",
    "key: {}\r\nb: c\r\n", "%YAML 1.1\n---\nkey: {}\n", "base: &b {{x: {}}}\nkey:\n  <<: *b\n",
)  # fmt: skip


def told(value: Any) -> Any:
    """The value with its types, so that 1, True and 1.0 are three things."""
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    if isinstance(value, list):
        return [told(item) for item in value]
    return type(value), repr(value)


def compare(text: str) -> bool:
    """Tell whether the quick one read it, and then the same."""
    found = quick(text)
    if found is None:
        return False
    try:
        data, lines = full(text, "x.yaml")
    except BadInput as error:
        pytest.fail(f"quick reads {text!r} as {found}, which is none: {error}")
    assert told(found[0]) == told(data), text
    assert found[1] == lines, text
    return True


@pytest.mark.parametrize("shape", SHAPES)
def test_every_scalar_at_every_place(shape: str) -> None:
    for scalar in (*SCALARS, *(text for text in HOSTILE if len(text) < 100)):
        compare(shape.format(scalar))


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


def test_recipes_as_people_write_them_are_read_quickly() -> None:
    assert compare(RECIPE.format(number=3, commit=COMMIT, accept=ACCEPT))
    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    assert recipes
    assert all(compare(path.read_text(encoding="utf-8")) for path in recipes)
