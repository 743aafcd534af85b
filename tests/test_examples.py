"""examples/: every recipe, policy and workflow is read by the kit's own parsers and the linters of workflows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from act import read
from mlx_publish.commands import registry
from mlx_publish.methods.rtn import FIXED_MODES
from mlx_publish.recipes.policy import Policy, objections, read_policy
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Destination
from mlx_publish.text.kit import REPO

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
RECIPES = sorted((EXAMPLES / "recipes").glob("*.yaml"))
WORKFLOWS = sorted((EXAMPLES / "workflows").glob("*/*.yml"))
CALLERS = [path for path in WORKFLOWS if path.parent.name == "whole-kit"]
OTHERS = [path for path in WORKFLOWS if path not in CALLERS]
KIT = f"{REPO}@v0"
TOOLS = Path(sys.executable).parent


def name_of(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(EXAMPLES / "mlx-publish.yaml")


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_recipe_lacks_nothing_but_its_commit(path: Path, policy: Policy) -> None:
    recipe = recipe_from_file(path, elsewhere=True)
    assert recipe.spec.revision is None
    commits = ["revision", "adapter_revision"] if recipe.spec.adapter else ["revision"]
    assert [fault.key for fault in objections(recipe, policy)] == commits


def test_a_pinned_recipe_is_within_the_policy(policy: Policy, tmp_path: Path) -> None:
    owners: set[Destination] = set()
    for path in RECIPES:
        pinned = tmp_path / path.name
        text = path.read_text(encoding="utf-8") + f"revision: {'a' * 40}\n"
        text += f"adapter_revision: {'b' * 40}\n" if "\nadapter:" in text else ""
        pinned.write_text(text, encoding="utf-8")
        recipe = recipe_from_file(pinned, elsewhere=True)
        assert objections(recipe, policy) == []
        assert not owners & set(recipe.destinations.values())
        owners |= set(recipe.destinations.values())


def test_the_recipes_show_what_their_page_says() -> None:
    specs = {path.stem: recipe_from_file(path, elsewhere=True).spec for path in RECIPES}
    assert len(specs) == 11
    assert specs["vision"].modality is None
    assert [variant.quantizer.name for variant in specs["planned"].variants] == ["plan"] * 3
    assert specs["text-of-a-vision-model"].modality == "text"
    assert {variant.mode for variant in specs["modes"].variants} >= set(FIXED_MODES)
    gates = specs["ladder-with-gates"]
    assert len(gates.variants) == 4
    assert gates.fidelity.max_mean_kld < 1
    assert gates.accept
    assert specs["community"].adopt
    assert specs["community"].create_pr
    assert specs["quantized-source"].base_model != specs["quantized-source"].source
    assert specs["adapter"].adapter
    assert specs["drafter"].mtp


def test_every_example_is_listed_on_the_page() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    listed = {target for target in re.findall(r"\]\(([^)#]+)", page) if not target.startswith("../")}
    assert listed == {
        "mlx-publish.yaml",
        *(name_of(path) for path in RECIPES),
        *(name_of(path.parent) for path in WORKFLOWS),
    }


def test_workflows_are_valid_by_githubs_schema() -> None:
    command: list[str | Path] = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", OTHERS, ids=name_of)
def test_a_linter_of_workflows_finds_nothing_once_the_kit_is_pinned(path: Path, tmp_path: Path) -> None:
    pinned = tmp_path / ".github/workflows" / path.name
    pinned.parent.mkdir(parents=True)
    pinned.write_text(path.read_text(encoding="utf-8").replace(KIT, f"{REPO}@{'a' * 40}"), encoding="utf-8")
    command: list[str | Path] = [TOOLS / "jactionlint", f"--shellcheck={TOOLS / 'shellcheck'}", pinned]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", OTHERS, ids=name_of)
def test_a_step_gives_the_action_inputs_that_it_has(path: Path) -> None:
    inputs = read(ROOT / "action.yml")["inputs"]
    workflow = read(path)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"] if step.get("uses") == KIT]
    assert workflow["permissions"] == {}
    assert steps
    for step in steps:
        assert set(step["with"]) <= set(inputs)
        assert registry()[step["with"]["stage"]].of_the_action
    assert all("secrets." not in str(step) for step in steps if step["with"]["stage"] != "upload")


def rights(workflow: dict[str, Any]) -> dict[str, str]:
    """Return all that the jobs of a workflow ask for."""
    asked: dict[str, str] = {}
    for job in workflow["jobs"].values():
        asked |= {key: right for key, right in job["permissions"].items() if asked.get(key) != "write"}
    return asked


@pytest.mark.parametrize("path", CALLERS, ids=name_of)
def test_a_caller_gives_a_workflow_of_the_kit_what_it_takes(path: Path) -> None:
    caller, called = read(path), read(ROOT / ".github/workflows" / path.name)
    [job] = caller["jobs"].values()
    takes = called["on"]["workflow_call"] or {}
    assert job["uses"] == f"{REPO}/.github/workflows/{path.name}@v0"
    assert set(job.get("with", {})) <= set(takes.get("inputs", {}))
    assert set(job.get("secrets", {})) == set(takes.get("secrets", {}))
    assert job["permissions"] == rights(called)
    assert caller["permissions"] == {}


def test_the_form_of_the_whole_kit_is_the_kits() -> None:
    form, ours = (
        read(path)["on"]["workflow_dispatch"]["inputs"]
        for path in (EXAMPLES / "workflows/whole-kit/publish.yml", ROOT / ".github/workflows/publish.yml")
    )
    assert {key: (entry["type"], entry.get("options")) for key, entry in form.items()} == {
        key: (entry["type"], entry.get("options")) for key, entry in ours.items()
    }
