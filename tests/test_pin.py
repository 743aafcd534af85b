"""`mlx-publish pin` writes commits into recipes; `inspect` prints the commit of a branch, whatever else it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import Hub
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.write import pin
from mlx_publish.text.files import write_atomically
from pipeline import User


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as found:
        found.put("ada/tiny", {"config.json": b'{"model_type": "llamma"}'})
        yield found


@pytest.fixture
def ada(hub: Hub, tmp_path: Path) -> User:
    (tmp_path / "home/recipes").mkdir(parents=True)
    return User(tmp_path / "home", hub)


def recipe(user: User, name: str, text: str) -> Path:
    path = user.home / f"recipes/{name}.yaml"
    path.write_text(text)
    return path


def test_comments_and_order_stay(ada: User, hub: Hub) -> None:
    path = recipe(ada, "tiny", "# Why\nsource: ada/tiny  # theirs\nvariants: [4bit]\nrevision: main   # newest\n")
    said = ada.run("pin", "tiny").text
    commit = hub.head("ada/tiny")
    assert f"recipes/tiny.yaml: main → {commit}" in said
    expected = f"# Why\nsource: ada/tiny  # theirs\nvariants: [4bit]\nrevision: {commit}   # newest\n"
    assert path.read_text() == expected


def test_all_recipes_are_pinned_or_none(ada: User, hub: Hub) -> None:
    one = recipe(ada, "a", "source: ada/tiny\n")
    two = recipe(ada, "b", "source: ada/gone\n")
    assert "ada/gone does not exist" in ada.run("pin", code=2).text
    assert one.read_text() == "source: ada/tiny\n"
    two.unlink()
    assert f"the default branch → {hub.head('ada/tiny')}" in ada.run("pin").text


def test_a_pinned_recipe_moves_only_when_asked(ada: User, hub: Hub) -> None:
    before = hub.head("ada/tiny")
    path = recipe(ada, "tiny", f"source: ada/tiny\nrevision: '{before}'\n")
    after = hub.put("ada/tiny", {"new": b"x"})
    said = ada.run("pin", path).text
    assert f"already pinned to {before}; --update moves it to the newest commit" in said
    assert before in path.read_text()
    assert f"{before} → {after}" in ada.run("pin", path, "--update").text
    assert recipe_from_file(path).spec.revision == after
    ada.run("pin", path, "--revision", before)
    assert recipe_from_file(path).spec.revision == before


def test_a_revision_is_for_one_recipe_that_there_is(ada: User) -> None:
    recipe(ada, "a", "source: ada/tiny\n")
    recipe(ada, "b", "source: ada/tiny\n")
    assert "mlx-publish pin RECIPE --revision REV" in ada.run("pin", "--revision", "main", code=2).text
    assert "Recipes in recipes: a, b." in ada.run("pin", "c", code=2).text


def test_a_folder_has_no_commit_to_pin(ada: User) -> None:
    recipe(ada, "here", "source: ./model\n")
    ended = ada.run("pin", "--json")
    [row] = json.loads(ended.out)["recipes"]
    assert (row["changed"], row["commit"]) == (False, None)


@pytest.mark.parametrize("commit", ["1" * 40, "12345e" + "6" * 34])
def test_a_commit_that_yaml_takes_for_a_number_is_quoted(tmp_path: Path, commit: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("source: a/b\nrevision: main\n")
    assert pin(recipe_from_file(path), commit)
    assert recipe_from_file(path).spec.revision == commit


def test_inspect_prints_the_commit_of_a_branch_where_the_model_is_refused(ada: User, hub: Hub) -> None:
    recipe(ada, "tiny", "source: ada/tiny\nrevision: main\n")
    said = ada.run("inspect", "--recipe", "recipes/tiny.yaml", code=1).text
    assert f"main of ada/tiny is commit {hub.head('ada/tiny')}" in said
    assert "to pin it: mlx-publish pin recipes/tiny.yaml" in said
    said = ada.run("inspect", "--source", "ada/tiny", code=1).text
    assert f"the default branch of ada/tiny is commit {hub.head('ada/tiny')}" in said
    assert f"to pin it: add --revision {hub.head('ada/tiny')}" in said


def test_a_commit_that_does_not_exist_leads_to_pin(ada: User, hub: Hub) -> None:
    recipe(ada, "tiny", f"source: ada/tiny\nrevision: '{'0' * 40}'\n")
    said = ada.run("inspect", "--recipe", "recipes/tiny.yaml", code=2).text
    assert "mlx-publish pin RECIPE --update" in said
    assert hub.head("ada/tiny") in ada.run("pin", "tiny", "--update").text


def test_inspect_prints_it_also_where_the_policy_refuses_the_branch(ada: User, hub: Hub) -> None:
    (ada.home / "mlx-publish.yaml").write_text("pinned: true\n")
    recipe(ada, "tiny", "source: ada/tiny\nrevision: main\n")
    said = ada.run("inspect", "--recipe", "recipes/tiny.yaml", code=2).text
    assert f"main of ada/tiny is commit {hub.head('ada/tiny')}" in said
    assert "Run: mlx-publish pin recipes/tiny.yaml" in said


def test_a_recipe_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("source: a/b\n")
    path.chmod(0o600)
    write_atomically(path, "source: a/c\n")
    assert path.stat().st_mode & 0o777 == 0o600
