"""What the arguments of several commands have in common, and what stands in for those that are not given."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from mlx_publish.recipes.flags import recipe_flags as _flags
from mlx_publish.text.harmless import one_line, shown_json

# Flags of the contract first, then the other keys of a recipe that a form may fill in.
RECIPE_FLAGS = _flags()
_LONGEST = 400
"""Characters of an error of usage; the longest names all commands."""
_INPUT = "MLX_PUBLISH_INPUT_"


class Parser(argparse.ArgumentParser):
    """A parser whose errors quote what was given as a part of one line, cut where it is long."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Make one without colours, which Python 3.14 writes and a door would take for commands to a terminal."""
        super().__init__(*arguments, **options)
        self.color = False

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments and end with 2."""
        super().error(one_line(message, _LONGEST))

    def fill(self, options: argparse.Namespace, inputs: Mapping[str, str], names: Mapping[str, str]) -> None:
        """Give each option that was not given its input, which has the same name or the one that `names` has.

        An input `true` is a flag; one whose option has a default of its own stands in for nothing.
        """
        options.inputs = inputs
        for action in self._actions:
            text = inputs.get(names.get(action.dest, action.dest))
            if text is None:
                continue
            if getattr(options, action.dest) is None:
                setattr(options, action.dest, action.type(text) if callable(action.type) else text)
            elif getattr(options, action.dest) is False:
                setattr(options, action.dest, text == "true")


def inputs_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the inputs of the composite action that were filled in, by name; they may not be pasted into a script."""
    return {
        key.removeprefix(_INPUT).lower(): value.strip()
        for key, value in environment.items()
        if key.startswith(_INPUT) and value.strip()
    }


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the recipe, and the flags that describe one."""
    group = parser.add_argument_group("what to publish")
    group.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe; or the flags that follow")
    for name, (metavar, text) in RECIPE_FLAGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=text)


def recipe_flags(options: argparse.Namespace) -> dict[str, str]:
    """Return the flags that describe a recipe, of those that were given."""
    return {key: value for key in RECIPE_FLAGS if (value := getattr(options, key)) is not None}


def add_cards(parser: argparse.ArgumentParser) -> None:
    """Add where the reviewed cards lie."""
    parser.add_argument("--cards", type=Path, default=Path("cards"), metavar="DIR", help="where the cards lie")


def add_recipes(parser: argparse.ArgumentParser) -> None:
    """Add where the recipes lie."""
    parser.add_argument("--recipes", type=Path, default=Path("recipes"), metavar="DIR", help="where recipes lie")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`: the result, or the error, as JSON on standard output; what people read goes to standard error."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def print_json(options: argparse.Namespace, record: Mapping[str, object]) -> None:
    """Print a command's result as JSON where `--json` is given: its keys below `schema: mlx-publish/COMMAND/1`."""
    if not options.json:
        return
    print(shown_json({"schema": f"mlx-publish/{options.command}/1", **record}))


def add_from_env(parser: argparse.ArgumentParser) -> None:
    """Add that inputs of the composite action stand in for flags."""
    text = "take flags that are not given from MLX_PUBLISH_INPUT_<FLAG>"
    parser.add_argument("--from-env", action="store_true", help=text)
