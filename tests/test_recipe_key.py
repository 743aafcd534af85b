"""A new key of a recipe is written in one place; flags, forms, files and pages are made from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from act import ROOT, read
from mlx_publish.recipes.flags import Flag, marker_of, section_of
from mlx_publish.recipes.recipe import RecipeSpec

HOME = "scripts/mlx_publish/recipes/spec.py"
KEYS = '''\
    flavour: Annotated[
        str | None,
        Flag("WORD", "Flavour of the model (default: plain)"),
        Asked("Which taste; only with source.", form="Which taste it has", pattern=patterns.NAME, max_length=20),
    ] = Field(None, pattern=patterns.NAME)
    """How the model tastes."""
    salt_free: Annotated[
        bool, Flag("BOOL", "true: no salt"), Asked("No salt.", form="Whether it is without", choices=("", "true"))
    ] = False
    """Leave the salt out."""
'''
MADE = {
    ".github/workflows/publish.yml",
    "action.yml",
    "docs/action.md",
    "docs/recipe.md",
    "docs/request.md",
    "scripts/mlx_publish/data/flags.json",
    "scripts/mlx_publish/schemas/recipe.schema.json",
    "scripts/mlx_publish/schemas/request.schema.json",
}


@dataclass(frozen=True)
class Kit:
    """A copy of what recipes are made of."""

    folder: Path

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")},
            "PYTHONPATH": str(self.folder / "scripts"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "120",
        }
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def command(self, *words: str) -> str:
        ended = self.python("-m", "mlx_publish", *words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def generate(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.python("scripts/generate.py", *words)

    def changed(self) -> set[str]:
        """Files that differ from those of this checkout."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        names = {path.relative_to(self.folder).as_posix() for path in files}
        return {name for name in names if (self.folder / name).read_bytes() != (ROOT / name).read_bytes()}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """The copy with two more keys, after scripts/generate.py."""
    kit = Kit(tmp_path_factory.mktemp("kit"))
    for name in ("scripts", "docs", ".github"):
        shutil.copytree(ROOT / name, kit.folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    shutil.copy(ROOT / "action.yml", kit.folder)
    home = kit.folder / HOME
    home.write_text(home.read_text().replace("    private: Annotated[", KEYS + "    private: Annotated["))
    stale = kit.generate("--check")
    assert stale.returncode == 1
    assert {line.partition(" is stale")[0] for line in stale.stderr.splitlines()} == MADE
    assert kit.generate().returncode == 0
    return kit


@pytest.mark.parametrize("name", RecipeSpec.model_fields)
def test_every_key_is_a_flag_or_a_section(name: str) -> None:
    field = RecipeSpec.model_fields[name]
    assert marker_of(field, Flag) or section_of(field.annotation)


def test_all_that_changes_beside_its_home_is_made(kit: Kit) -> None:
    assert kit.changed() == {HOME, *MADE}
    again = kit.generate("--check")
    assert (again.returncode, again.stderr) == (0, "")


def test_it_is_a_flag(kit: Kit) -> None:
    lines = [" ".join(line.split()) for line in kit.command("run", "--help").splitlines()]
    assert "--flavour WORD flavour of the model (default: plain)" in lines
    assert "--salt-free BOOL true: no salt" in lines


def test_it_is_written_into_the_recipe_that_flags_make(kit: Kit, tmp_path: Path) -> None:
    flags = ("--flavour", "mint", "--salt-free", "true", "--notes", "x")
    kit.command("recipe", "--source", "a/b", *flags, "--recipes", str(tmp_path))
    lines = (tmp_path / "b.yaml").read_text().splitlines()
    assert lines[1:] == ['source: "a/b"', 'flavour: "mint"', "salt_free: true", "card:", '  notes: "x"']


def test_its_value_is_checked_by_its_own_type(kit: Kit) -> None:
    ended = kit.python("-m", "mlx_publish", "recipe", "--source", "a/c", "--flavour", "a/b", "--salt-free", "pinch")
    assert ended.returncode == 2
    assert "--flavour: is not a name of letters" in ended.stderr
    assert "--salt-free: input should be a valid boolean (given: 'pinch')" in ended.stderr


def test_it_is_an_input_of_the_action(kit: Kit) -> None:
    action = read(kit.folder / "action.yml")
    assert action["inputs"]["flavour"] == {
        "description": "Flavour of the model (default: plain)",
        "default": "",
    }
    assert action["inputs"]["salt-free"]["description"] == "true: no salt"
    environment = action["runs"]["steps"][0]["env"]
    assert environment["MLX_PUBLISH_INPUT_SALT_FREE"] == "${{ inputs.salt-free }}"


def test_it_can_be_asked_for(kit: Kit, tmp_path: Path) -> None:
    workflow = read(kit.folder / ".github/workflows/publish.yml")
    form, call = (workflow["on"][trigger]["inputs"] for trigger in ("workflow_dispatch", "workflow_call"))
    assert form["flavour"] == {"description": "Which taste it has", "type": "string", "default": ""}
    assert form["salt-free"]["options"] == ["", "true"]
    assert call["salt-free"]["type"] == "string"
    handed = [step["with"] for job in workflow["jobs"].values() for step in job["steps"] if "salt-free" in str(step)]
    assert [step["salt-free"] for step in handed] == [
        "${{ inputs.salt-free }}",
        "${{ matrix.job.salt_free }}",
        "${{ fromJSON(needs.plan.outputs.review).salt_free }}",
    ]
    wanted = {"source": "a/new", "destination": "lab/new", "flavour": "mint"}
    for event, payload in (
        ("repository_dispatch", {"action": "mlx-publish", "client_payload": {**wanted, "salt_free": True}}),
        ("workflow_dispatch", {"inputs": {**wanted, "salt-free": "true"}}),
    ):
        (tmp_path / "event.json").write_text(json.dumps(payload))
        plan = json.loads(
            kit.command(
                "plan", "--event-name", event, "--event", str(tmp_path / "event.json"), "--ref", "refs/heads/main"
            )
        )
        assert (plan["review"]["flavour"], plan["review"]["salt_free"]) == ("mint", "true")


def test_schemas_and_pages_have_it(kit: Kit) -> None:
    def schema(name: str) -> dict[str, Any]:
        path = kit.folder / f"scripts/mlx_publish/schemas/{name}.schema.json"
        properties: dict[str, Any] = json.loads(path.read_text())["properties"]
        return properties

    assert schema("recipe")["salt_free"] == {"default": False, "title": "Salt Free", "type": "boolean"}
    assert schema("request")["flavour"]["anyOf"][0]["maxLength"] == 20
    pages = {name: (kit.folder / f"docs/{name}.md").read_text() for name in ("recipe", "action", "request")}
    assert "| `flavour` | text |  | How the model tastes. |" in pages["recipe"]
    assert "| `flavour` | Flavour of the model (default: plain) |  |" in pages["action"]
    assert "| `flavour` | text |  | Which taste; only with source. |" in pages["request"]


def test_without_it_everything_is_as_before(kit: Kit, tmp_path: Path) -> None:
    other = Kit(tmp_path / "kit")
    shutil.copytree(kit.folder, other.folder)
    shutil.copy(ROOT / HOME, other.folder / HOME)
    assert other.generate().returncode == 0
    assert other.changed() == set()
