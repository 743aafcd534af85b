"""docs/card.md says what there is, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path

from mlx_publish.card.environment import FILTERS
from mlx_publish.card.front_matter import front_matter
from mlx_publish.card.render import context, render_card
from mlx_publish.card.templates import CHART, packaged, read_templates
from mlx_publish.recipes.recipe import RecipeSpec
from mlx_publish.text.yaml import load_yaml
from samples import record

PAGE = (Path(__file__).parents[2] / "docs/card.md").read_text(encoding="utf-8")
OTHER = {"id": "other", "name": "Own", "link": "https://example.org/x"}


def column(head: str) -> set[str]:
    """The words in code of the first column of the table that begins so."""
    table = PAGE.partition(f"| {head} |")[2].partition("\n\n")[0]
    return {
        word
        for line in table.splitlines()
        for word in re.findall(r"`([a-z_]+)", line.split("|")[1] if "|" in line else "")
    }


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_all_that_templates_are_given_is_listed() -> None:
    assert column("name") == set(context("x", "x", "", record()))
    assert column("filter") == set(FILTERS)


def test_all_keys_of_the_front_matter_are_listed() -> None:
    assert column("key") == set(front_matter(record(licence=OTHER)))


def test_all_sections_are_listed() -> None:
    named = set(re.findall(r"(\w+\.md\.j2) \|", PAGE.partition("## Front matter")[0]))
    assert named == set(packaged()) - {"README.md.j2", CHART}
    for block in re.findall(r"{% block (\w+) %}", packaged()["README.md.j2"]):
        assert f"| `{block}`" in PAGE


def test_the_examples_work(tmp_path: Path) -> None:
    for text in blocks("jinja"):
        name = re.match(r"{# templates/card/(\S+) #}\n", text)
        assert name
        (tmp_path / name[1]).write_text(text, encoding="utf-8")
    own = read_templates(tmp_path)
    assert own is not None
    card = render_card("x", "x", "", record(templates=own.digests), tmp_path)
    assert "\n## House rules\n\nThis is variant 4bit of 2. Ask before you redistribute it.\n" in card
    assert card.endswith("thanks to the authors of [acme/Tiny](https://huggingface.co/acme/Tiny).\n")


def test_the_notes_are_a_part_of_a_recipe(tmp_path: Path) -> None:
    [text] = blocks("yaml")
    (tmp_path / "r.yaml").write_text(f"source: a/b\n{text}", encoding="utf-8")
    assert "*Community*" in RecipeSpec.model_validate(load_yaml(tmp_path / "r.yaml")[0]).card.notes
