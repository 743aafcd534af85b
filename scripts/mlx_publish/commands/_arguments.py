"""What the arguments of several commands have in common, and what stands in for those that are not given."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from mlx_publish.errors import Fault
from mlx_publish.recipes.flags import PUBLISHING
from mlx_publish.recipes.flags import recipe_flags as _flags
from mlx_publish.text.harmless import shown_json
from mlx_publish.text.masking import without_secrets

# Flags of the contract first, then the other keys of a recipe that a form may fill in.
RECIPE_FLAGS = _flags()
_INPUT = "MLX_PUBLISH_INPUT_"


def inputs_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the inputs of the composite action that were filled in, by name; they may not be pasted into a script."""
    return {
        key.removeprefix(_INPUT).lower(): value.strip()
        for key, value in environment.items()
        if key.startswith(_INPUT) and value.strip()
    }


def add_recipe(parser: argparse.ArgumentParser, *, publishes: bool = True) -> None:
    """Add the recipe, and the flags that describe one, in their groups.

    What is said of publishing alone is taken by every command, and listed where the command `publishes`.
    """
    parser.add_argument(
        "--recipe", type=recipe_path, metavar="FILE", help="recipe, or the name of one in recipes/; else give --source"
    )
    groups = {
        title: parser.add_argument_group(title) for title in dict.fromkeys(flag.group for flag in RECIPE_FLAGS.values())
    }
    for name, flag in RECIPE_FLAGS.items():
        text = flag.help if publishes or flag.group != PUBLISHING else argparse.SUPPRESS
        groups[flag.group].add_argument(f"--{name.replace('_', '-')}", metavar=flag.metavar, help=text)


def recipe_path(text: str) -> Path:
    """Return the file of a recipe, which may be named alone where it lies in `recipes/`."""
    path = Path(text)
    if path.suffix or path.parent != Path() or path.exists():
        return path
    return next((file for ending in (".yaml", ".yml") if (file := Path("recipes", text + ending)).is_file()), path)


def variant_names(text: str) -> list[str]:
    """Return names that stand with commas: `4bit,8bit`."""
    return [name for name in re.split(r"[\s,]+", text) if name]


def add_variant(parser: argparse.ArgumentParser) -> None:
    """Add the variants that are wanted of a recipe, a list in `options.variant`; None where none are named."""
    parser.add_argument(
        "--variant",
        action="extend",
        type=variant_names,
        metavar="NAMES",
        help="only these variants of the recipe, as 4bit,8bit; may be repeated",
    )


def recipe_flags(options: argparse.Namespace) -> dict[str, str]:
    """Return the flags that describe a recipe, of those that were given."""
    return {key: value for key in RECIPE_FLAGS if (value := getattr(options, key)) is not None}


def add_cards(parser: argparse.ArgumentParser) -> None:
    """Add where the reviewed cards lie."""
    parser.add_argument(
        "--cards", type=Path, default=Path("cards"), metavar="DIR", help="folder of the cards (default: cards)"
    )


def add_recipes(parser: argparse.ArgumentParser) -> None:
    """Add where the recipes lie."""
    parser.add_argument(
        "--recipes", type=Path, default=Path("recipes"), metavar="DIR", help="folder of the recipes (default: recipes)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`: the result, or the error, as JSON on standard output; what people read goes to standard error."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def print_json(options: argparse.Namespace, record: Mapping[str, object]) -> None:
    """Print a command's result as JSON where `--json` is given: its keys below `schema: mlx-publish/COMMAND/1`."""
    if not options.json:
        return
    print(shown_json({"schema": f"mlx-publish/{options.command}/1", **record}))


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add how much is printed: `verbose`, `quiet` or neither."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-v", "--verbose", action="store_true", help="print every check, also those that passed")
    group.add_argument("-q", "--quiet", action="store_true", help="print failures, errors and the verdict only")


def fault_record(fault: Fault) -> dict[str, object]:
    """Return a fault for `--json`: message, file, line, key and remedy, null where there is none."""
    return {
        "message": without_secrets(fault.message),
        "file": without_secrets(fault.place.name) or None,
        "line": fault.place.line or None,
        "key": without_secrets(fault.key) or None,
        "remedy": without_secrets(fault.remedy) or None,
    }


def add_from_env(parser: argparse.ArgumentParser) -> None:
    """Add that inputs of the composite action stand in for flags."""
    # No help: the Action gives it, nobody types it.
    parser.add_argument("--from-env", action="store_true", help=argparse.SUPPRESS)
