"""What any recipe of a repo may do, and what a source may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_publish.errors import BadInput
from mlx_publish.recipes.policy import find_policy, objections, read_policy
from mlx_publish.recipes.read import recipe_from_file
from models import answer_table, make_model, make_scripted
from pipeline import User, write_recipe

COMMIT = "0" * 40


def policy(folder: Path, text: str) -> Path:
    path = folder / "mlx-publish.yaml"
    path.write_text(text)
    return path


def said(folder: Path, rules: str, recipe: str) -> list[str]:
    """What is objected to, each with its place."""
    (folder / "r.yaml").write_text(recipe)
    found = recipe_from_file(folder / "r.yaml", elsewhere=True)
    return [
        f"{one.place}: {one.key}: {one.message} {one.remedy}"
        for one in objections(found, read_policy(policy(folder, rules)))
    ]


GOOD = f"source: acme/Tiny\nrevision: '{COMMIT}'\nto: lab/{{source}}-{{variant}}\nlicense: mit\n"
RULES = "namespaces: [Lab]\nlicenses: [MIT]\nfolders: false\n"


def test_what_keeps_to_it_passes(tmp_path: Path) -> None:
    assert said(tmp_path, RULES, GOOD) == []
    assert said(tmp_path, "{}\n", GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (f"revision: '{COMMIT}'\n", "", 1, "no revision is set"),
        (COMMIT, "main", 2, "'main' is a branch or a tag"),
        ("to: lab/", "to: eve/", 3, "the namespace eve is not allowed"),
        ("to: lab/{source}-{variant}", "to: folder:x/{source}-{variant}", 3, "publishes into a folder"),
        ("license: mit", "license: gpl", 4, "the licence gpl is not allowed"),
    ],
)
def test_what_does_not_is_named_by_line_and_key(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in GOOD
    [found] = said(tmp_path, RULES, GOOD.replace(old, new))
    assert found.startswith(f"{tmp_path}/r.yaml:{line}: ")
    assert words in found
    assert "mlx-publish.yaml" in found or "by default" in found


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("namespace: [x]\n", "namespace"),
        ("namespaces: x\n", "namespaces"),
        ("namespaces: []\n", "namespaces"),
        ("largest_source: 100\n", "largest_source"),
        ("largest_source: 1 GiB\n", "largest_source"),
        ("pinned: maybe\n", "pinned"),
    ],
)
def test_a_policy_that_is_wrong_names_its_line(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(BadInput) as error:
        read_policy(policy(tmp_path, text))
    assert str(error.value.place).endswith("mlx-publish.yaml:1")
    assert (error.value.key or "").startswith(key)


def test_it_is_that_of_the_repo_one_stands_in(tmp_path: Path) -> None:
    deep = tmp_path / "repo/a/b"
    deep.mkdir(parents=True)
    policy(tmp_path, "namespaces: [outside]\n")
    (tmp_path / "repo/.git").mkdir()
    assert find_policy(deep) is None
    policy(tmp_path / "repo", "namespaces: [inside]\n")
    found = find_policy(deep)
    assert found is not None
    assert found.spec.namespaces == ["inside"]


@pytest.mark.parametrize(
    ("rules", "code", "words"),
    [
        ("largest_source: 1 TB\nlicenses: [apache-2.0]\n", 0, "pass"),
        ("largest_source: 0.001 MB\n", 2, "largest_source of mlx-publish.yaml:1 allows"),
        ("licenses: [mit]\n", 2, "the licence is apache-2.0"),
    ],
)
def test_a_source_is_judged_before_it_is_converted(
    tmp_path: Path, user: User, rules: str, code: int, words: str
) -> None:
    source = make_scripted(tmp_path / "Scripted", answer_table())
    user.run("inspect", "--source", source)  # what was looked at before the policy came counts no longer
    policy(user.home, rules)
    assert words in user.run("convert" if code else "inspect", "--source", source, code=code).text
    assert not (user.home / "work/Scripted/4bit/model").exists()


def test_every_command_that_reads_a_recipe_is_judged(tmp_path: Path, user: User) -> None:
    source = make_scripted(tmp_path / "Scripted", answer_table())
    user.run("inspect", "--source", source)
    policy(user.home, "folders: false\n")
    assert "--to: publishes into a folder" in user.run("inspect", "--source", source, code=2).text


def test_a_refused_variant_does_not_let_the_others_pass_by_the_policy(tmp_path: Path, user: User) -> None:
    source = make_model(tmp_path / "m")  # 64 columns, which groups of 128 do not divide
    recipe = write_recipe(tmp_path / "r.yaml", source=str(source), variants=[{"bits": 4, "group_size": 128}, "4bit"])
    user.run("inspect", "--recipe", recipe, "--work", tmp_path / "work", code=1)  # one of the two is refused
    policy(user.home, "largest_source: 0.001 MB\n")
    ended = user.run("convert", "--recipe", recipe, "--work", tmp_path / "work", code=2)
    assert "largest_source of " in ended.text
    assert not (tmp_path / "work/r/4bit/model").exists()
