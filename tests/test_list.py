"""`list`: the recipes here, each with what is wrong with it."""

from __future__ import annotations

import json

from pipeline import User

COMMIT = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
GOOD = f"source: acme/base\nrevision: {COMMIT}\nvariants: [4bit, 8bit]\nto: me/{{source}}-{{variant}}\n"


def recipe(user: User, name: str, text: str) -> None:
    (user.home / "recipes").mkdir(parents=True, exist_ok=True)
    (user.home / "recipes" / name).write_text(text)


def test_each_recipe_with_source_commit_variants_and_destinations(user: User) -> None:
    recipe(user, "small.yaml", GOOD)
    ended = user.run("list")
    assert "small recipes/small.yaml source acme/base at 12fd25f77366 variants 4bit, 8bit" in ended.text
    assert "me/base-4bit me/base-8bit" in ended.text
    assert "1 recipe, 2 variants" in ended.text


def test_a_branch_is_named_with_the_command_that_pins_it(user: User) -> None:
    recipe(user, "small.yaml", "source: acme/base\nrevision: main\nvariants: [4bit]\n")
    assert "not pinned; run: mlx-publish pin recipes/small.yaml" in user.run("list").text


def test_a_faulty_recipe_is_named_by_file_and_line_and_hides_no_other(user: User) -> None:
    recipe(user, "a.yaml", "source: acme/base\nvarients: [4bit]\n")
    recipe(user, "b.yaml", GOOD)
    recipe(user, "c.yaml", "source: [\n")
    ended = user.run("list", code=2)
    assert "recipes/a.yaml:2: varients" in ended.text
    assert "recipes/c.yaml:" in ended.text
    assert "b recipes/b.yaml source acme/base" in ended.text
    assert "3 recipes, 2 variants, 2 faulty" in ended.text


def test_what_the_policy_forbids_and_a_shared_destination_are_faults(user: User) -> None:
    recipe(user, "a.yaml", GOOD)
    recipe(user, "b.yaml", GOOD)
    (user.home / "mlx-publish.yaml").write_text("namespaces: [acme]\n")
    text = user.run("list", code=2).text
    assert "the namespace me is not allowed" in text
    assert "to: recipes/a.yaml also p" in text


def test_json_names_the_same_facts(user: User) -> None:
    recipe(user, "small.yaml", GOOD)
    recipe(user, "wrong.yaml", "source: acme/base\nvarients: [4bit]\n")
    data = json.loads(user.run("list", "--json", code=2).out)
    assert data["schema"] == "mlx-publish/list/1"
    small, wrong = data["recipes"]
    assert small["revision"] == COMMIT
    assert small["pinned"]
    assert small["destinations"] == {"4bit": "me/base-4bit", "8bit": "me/base-8bit"}
    assert small["faults"] == []
    assert wrong["faults"][0]["line"] == 2


def test_the_wrong_folder_is_answered_with_what_to_do(user: User) -> None:
    text = user.run("list", code=2).text
    assert "the recipes folder recipes does not exist" in text
    assert "mlx-publish init" in text
