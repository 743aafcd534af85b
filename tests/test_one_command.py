"""A command is parsed without loading the others, and just as it is among them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlx_publish.cli import parser
from mlx_publish.commands import command_called, registry

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.mark.parametrize("name", list(registry()))
def test_the_help_of_a_command_is_the_same_without_the_others(name: str) -> None:
    assert parser((name,)).parsers[name].format_help() == parser().parsers[name].format_help()


@pytest.mark.parametrize("word", ["", "--help", "hooks", "stages", "_run", "__init__", "review_cards", "os", "../hook"])
def test_a_word_that_is_no_name_of_a_command_loads_them_all(word: str) -> None:
    assert command_called(word) is None
    assert list(parser((word,)).commands) == list(registry())


def test_a_hook_loads_no_other_command() -> None:
    program = (
        "import sys; from mlx_publish import cli; cli.parser(['hook', 'mlx-card', 'x']); "
        "print(*(name for name in sys.modules if name.startswith('mlx_publish.commands.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True, check=True
    )
    loaded = {name.rpartition(".")[2] for name in done.stdout.split()}
    assert {name for name in loaded if not name.startswith("_")} == {"hook"}


def loaded_by(program: str, *names: str) -> list[str]:
    """Return which of some modules a program loads."""
    program += f"; import sys; print(*({names!r} & sys.modules.keys()))".replace(repr(names), repr(set(names)))
    environment = {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_what_publishes_loads_no_schemas() -> None:
    program = "import mlx_publish.hub.manifest, mlx_publish.hub.publish"
    assert loaded_by(program, "pydantic", "mlx_publish.hub.publish") == ["mlx_publish.hub.publish"]


def test_the_hooks_of_recipes_and_cards_load_no_check_and_no_engine_of_templates() -> None:
    program = "import mlx_publish.hooks.mlx_recipe, mlx_publish.hooks.mlx_card"
    heavy = ("mlx_publish.checks.registry", "mlx_publish.checks.judged", "mlx_publish.chat.look", "huggingface_hub")
    assert loaded_by(program, *heavy, "pydantic") == ["pydantic"]


def test_the_hooks_of_templates_and_configs_load_no_schemas() -> None:
    program = "import mlx_publish.hooks.mlx_chat_template, mlx_publish.hooks.mlx_model_config"
    assert loaded_by(program, "pydantic", "yaml", "mlx_publish.hooks") == ["mlx_publish.hooks"]
