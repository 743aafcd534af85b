"""Faults of models that see, and slips of their conversion: each is refused or told, in the check that is named for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.children.torch import VARIABLE as REFERENCE
from mlx_publish.children.vision import VARIABLE
from pipeline import User, checks, write_recipe
from vision_faults import CANARY, FAULTS, Fault, edit, made, put, told
from vision_slips import SLIPS, Slip, happening, python_with

PAGE = Path(__file__).parents[1] / "docs" / "vision.md"
STAGES = ("inspect", "convert", "smoke", "fidelity")
BASES = sorted({one.base for one in FAULTS.values()} | {one.base for one in SLIPS.values()})


def named(faults: Mapping[str, Fault] | Mapping[str, Slip]) -> list[Any]:
    """Return their names; of each check's faults the first is tried in every run, the others at night."""
    first = dict[str, str]()
    for name, one in faults.items():
        first.setdefault(one.check, name)
    return [
        name if first[one.check] == name else pytest.param(name, marks=pytest.mark.nightly)
        for name, one in faults.items()
    ]


def run(user: User, source: Path, until: str, code: int | None = None) -> dict[str, dict[str, str]]:
    """Run up to a stage; returns the status of each check by stage. The exit code is 1 where one has failed."""
    keys: dict[str, Any] = {"source": str(source), "base_model": "acme/base", "license": "apache-2.0"}
    recipe = write_recipe(user.home / "recipe.yaml", **keys, variants=[{"bits": 8}], to=f"folder:{user.home}/out")
    work = user.home / "work"
    user.run("run", "--recipe", recipe, "--work", work, "--until", until, code=1 if code is None else code)
    folder = work / "recipe" / "8bit"
    return {stage: checks(folder, stage) for stage in STAGES if (folder / f"{stage}.json").exists()}


def somebody(tmp_path: Path, vision: Path, torch: Path | None) -> User:
    return User(tmp_path / "home", more={VARIABLE: str(vision)} | ({REFERENCE: str(torch)} if torch else {}))


@pytest.mark.parametrize("base", BASES)
def test_a_model_without_a_fault_passes(
    tmp_path: Path, vision_models: Path, vision_python: Path, torch_python: Path, base: str
) -> None:
    source = made(vision_models, base, tmp_path / base)
    found = run(somebody(tmp_path, vision_python, torch_python), source, "fidelity", code=0)
    assert list(found) == list(STAGES)
    assert [(stage, check) for stage in found for check, status in found[stage].items() if status == "fail"] == []


@pytest.mark.parametrize("name", named(FAULTS))
def test_a_fault_of_the_source_is_refused_or_told(
    tmp_path: Path, vision_models: Path, vision_python: Path, torch_python: Path, name: str
) -> None:
    fault = FAULTS[name]
    source = made(vision_models, fault.base, tmp_path / fault.base)
    fault.change(source)
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    user = somebody(tmp_path, vision_python, torch_python if fault.check.startswith("twin") else None)
    found = run(user, source, fault.stage, code=None if fault.status == "fail" else 0)
    assert told(found[fault.stage], fault.check, fault.status), found
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    assert not (source / CANARY).exists()


@pytest.mark.parametrize("name", named(SLIPS))
def test_a_slip_of_the_conversion_is_refused(
    tmp_path: Path, vision_models: Path, vision_python: Path, torch_python: Path, name: str
) -> None:
    slip = SLIPS[name]
    source = made(vision_models, slip.base, tmp_path / slip.base)
    python = python_with(name, vision_python, tmp_path)
    user = somebody(tmp_path, python, torch_python if slip.check.startswith("twin") else None)
    with happening(name):
        found = run(user, source, slip.stage)
    assert found[slip.stage].get(slip.check) == "fail", found


def rows() -> dict[str, list[str]]:
    """Return the cells of the page's table, by its first column."""
    lines = re.findall(r"^\| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {cells[0]: cells for cells in (line.split(" | ") for line in lines) if len(cells) in (2, 4)}


@pytest.mark.parametrize("fault", [*FAULTS.values(), *SLIPS.values()], ids=[*FAULTS, *SLIPS])
def test_the_page_has_the_fault_and_where_it_is_told(fault: Fault | Slip) -> None:
    assert f"{fault.stage}: `{fault.check}`" in rows()[fault.says][-1]


def test_faults_change_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": {"b": 1}, "c": 2}')
    put(tmp_path, "config.json", a__b=3)
    edit(tmp_path, "config.json", lambda content: content.pop("c"))
    assert json.loads((tmp_path / "config.json").read_text()) == {"a": {"b": 3}}
