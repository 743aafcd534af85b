"""From files and flags to the same recipe, and errors that name file, line and key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hostile import HOSTILE, WORSE
from mlx_publish.commands._arguments import RECIPE_FLAGS
from mlx_publish.errors import BadInput
from mlx_publish.methods import METHODS
from mlx_publish.recipes.address import repo_of
from mlx_publish.recipes.read import recipe_from_file, recipe_from_flags
from mlx_publish.recipes.recipe import Recipe

SHORT = f"Short names: {', '.join(name for method in METHODS for name in method.short_names)}, bf16, fp16, fp32"
LISTED = "docs/recipe.md lists the keys."
LINE = "Correct the line."
ALLOWED = "docs/recipe.md lists the allowed values."


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder than the recipe's, and short paths in messages."""
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def written(text: str, name: str = "tiny.yaml") -> Path:
    path = Path("recipes") / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(text: str, **more: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        recipe_from_file(written(text), **more)
    return caught.value


def refused_flags(**flags: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        recipe_from_flags(flags)
    return caught.value


def test_defaults_are_filled_in(here: Path) -> None:
    found = recipe_from_file(written("source: acme/Tiny\n", "small.yml"))
    assert (found.name, found.source_name, found.base_model, found.source_folder) == (
        "small",
        "Tiny",
        "acme/Tiny",
        None,
    )
    assert {label: str(to) for label, to in found.destinations.items()} == {
        "4bit": f"folder:{here}/recipes/published/Tiny-MLX-4bit"
    }
    assert str(found.place_of("source")) == "recipes/small.yml:1"


@pytest.mark.parametrize(
    ("text", "said", "remedy"),
    [
        ("source: a/b\nbits: 4\n", "recipes/tiny.yaml:2: bits: unknown key; did you mean bits below variants?", LISTED),
        (
            "source: a/b\nbase-model: c/d\n",
            "recipes/tiny.yaml:2: base-model: unknown key; did you mean base_model?",
            LISTED,
        ),
        (
            "source: a/b\nvariants:\n  - bits: 4\n    group-size: 32\n",
            "recipes/tiny.yaml:4: variants[0].group-size: unknown key; did you mean group_size?",
            LISTED,
        ),
        (
            "source: a/b\nvariants:\n  - bits: '4'\n",
            "recipes/tiny.yaml:3: variants[0].bits: input should be 2, 3, 4, 5, 6 or 8 (given: '4')",
            "Write 4.",
        ),
        (
            "source: 5\n",
            "recipes/tiny.yaml:1: source: input should be a valid string (given: 5)",
            'Write it in quotes: "5".',
        ),
        (
            "source: a/b\nprivate: yes\n",
            "recipes/tiny.yaml:2: private: input should be a valid boolean (given: 'yes')",
            "Write true, without quotes.",
        ),
        (
            "source: a/b\nvariants:\n  - mode: mxfp4\n    bits: 8\n",
            "recipes/tiny.yaml:4: variants[0].bits: mxfp4 has 4 bits, not 8",
            ALLOWED,
        ),
        (
            "source: a/b\n\nlicense: other\n",
            "recipes/tiny.yaml:3: license: 'other' requires license_name and license_link",
            ALLOWED,
        ),
        (
            "# nothing\nvariants: [4bit]\n",
            "recipes/tiny.yaml:1: source: required key is missing",
            "Add it; docs/recipe.md lists the keys.",
        ),
        ("source: a/b\nb: c: d\n", "recipes/tiny.yaml:2: not valid YAML: mapping values are not allowed here", LINE),
        (
            "source: a/b\nto: c\nto: d\n",
            'recipes/tiny.yaml:3: not valid YAML: found duplicate key "to" with value "d" (original value: "c")',
            LINE,
        ),
        ("- a\n", "recipes/tiny.yaml:1: a recipe is a mapping of keys, such as 'source: namespace/name'", ""),
        ("", "recipes/tiny.yaml:1: a recipe is a mapping of keys, such as 'source: namespace/name'", ""),
        (
            "source: Tiny\n",
            "recipes/tiny.yaml:1: source: 'Tiny' is neither a repo (namespace/name) nor a folder (./path)",
            "Use namespace/name for a repo on the Hub; start a folder with ./ or /.",
        ),
        (
            "source: a/b\nvariants: [4bit, {bits: 4, mode: affine}]\n",
            "recipes/tiny.yaml:2: variants: two variants are named 4bit",
            "Set 'name' on one of them.",
        ),
        (
            "source: a/b\nvariants: [{name: source}]\n",
            "recipes/tiny.yaml:2: variants: a variant cannot be named source; the work folder uses that name for the source",
            "Take another name.",
        ),
        (
            "source: a/b\nvariants: [4bit, 8bit]\nto: x/y\n",
            "recipes/tiny.yaml:3: to: several variants have the same destination, x/y",
            "Add {variant} or {bits} to it.",
        ),
        (
            "source: a/b\nto: x/{name}\n",
            "recipes/tiny.yaml:2: to: 'x/{name}': unknown placeholder {name}; did you mean {source}?",
            "Placeholders: {source}, {variant} and {bits}.",
        ),
        (
            "source: a/b\nvariants: [bf16]\nto: x/y-{bits}\n",
            "recipes/tiny.yaml:3: to: 'x/y-{bits}': the variant bf16 has no single bit width for {bits}; use {variant}",
            "Placeholders: {source}, {variant} and {bits}.",
        ),
        (
            "source: a/b\nto: justaname\n",
            "recipes/tiny.yaml:2: to: 'justaname' is neither namespace/name nor folder:PATH",
            "Use letters, digits, '-', '_' and '.', at most 96 characters including the namespace.",
        ),
    ],
)
def test_errors_name_file_line_and_key(text: str, said: str, remedy: str) -> None:
    error = refused(text)
    assert str(error) == said
    assert error.remedy == remedy


def test_several_errors_are_told_at_once_each_with_its_line() -> None:
    error = refused("source: a/b\nfoo: 1\nvariants:\n  - 4bit\n  - five\nprivate: 3\n")
    assert str(error).splitlines() == [
        f"recipes/tiny.yaml:5: variants[1]: no variant is called 'five'. {SHORT}",
        "recipes/tiny.yaml:6: private: input should be a valid boolean (given: 3)",
        "recipes/tiny.yaml:2: foo: unknown key",
    ]


def test_a_missing_file() -> None:
    with pytest.raises(BadInput) as caught:
        recipe_from_file(Path("recipes/none.yaml"))
    assert str(caught.value) == "recipes/none.yaml: recipe not found"


def test_folders_in_a_file_are_relative_to_it_and_in_a_flag_to_where_one_is(here: Path) -> None:
    (here / "models" / "Tiny").mkdir(parents=True)
    file = written("source: ../models/Tiny\nto: folder:out/{source}-{variant}-{bits}\nvariants: [4bit, 8bit]\n")
    found = recipe_from_file(file)
    assert found.source_folder == here / "models" / "Tiny"
    assert found.base_model is None
    assert {label: to.folder for label, to in found.destinations.items()} == {
        "4bit": here / "recipes/out/Tiny-4bit-4",
        "8bit": here / "recipes/out/Tiny-8bit-8",
    }
    moved = recipe_from_file(file, to="folder:out/{variant}")
    assert [to.folder for to in moved.destinations.values()] == [here / "out/4bit", here / "out/8bit"]


def test_a_destination_by_flag_is_blamed_on_the_flag() -> None:
    error = refused("source: a/b\nto: x/{variant}\n", to="bad")
    assert str(error) == "--to: 'bad' is neither namespace/name nor folder:PATH"
    assert str(refused("source: Tiny\nto: x/y\n", to="x/z")).startswith("recipes/tiny.yaml:1: source:")


def test_home_folders_are_found(here: Path) -> None:
    (here / "home" / "Tiny").mkdir(parents=True)
    found = recipe_from_file(written("source: ~/Tiny\nto: folder:~/out\n"))
    assert found.source_folder == here / "home" / "Tiny"
    assert found.destinations["4bit"].folder == here / "home" / "out"


@pytest.mark.parametrize("source", ["./none", "~nobody-has-this-name/x", "./" + "x" * 300])
def test_a_folder_that_is_not_there(source: str) -> None:
    error = refused(f"source: {source}\n")
    assert (str(error.place), error.key) == ("recipes/tiny.yaml:1", "source")
    assert error.message.endswith("does not exist")
    assert str(refused_flags(source=source).place) == "--source"


def test_a_file_is_no_folder_and_a_folder_has_no_revision(here: Path) -> None:
    (here / "Tiny").mkdir()
    (here / "file").touch()
    assert "does not exist" in str(refused("source: ../file\n"))
    error = refused("source: ../Tiny\nrevision: main\n")
    assert str(error) == "recipes/tiny.yaml:2: a folder has no revision"
    assert str(refused_flags(source="./Tiny", revision="main")) == "--revision: a folder has no revision"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"bits": "7"}, "--bits: input should be 2, 3, 4, 5, 6 or 8 (given: 7)"),
        ({"bits": "four"}, "--bits: input should be 2, 3, 4, 5, 6 or 8 (given: 'four')"),
        ({"bits": "8", "mode": "mxfp4"}, "--bits: mxfp4 has 4 bits, not 8"),
        ({"mode": "nvfp4", "group_size": "64"}, "--group-size: nvfp4 has a group size of 16, not 64"),
        ({"mixed": "mixed_3_6", "mode": "mxfp8"}, "--mode: the mixed recipes of mlx-lm are affine, not mxfp8"),
        ({"private": "maybe"}, "--private: input should be a valid boolean (given: 'maybe')"),
        ({"license": "other"}, "--license: 'other' requires license_name and license_link"),
        ({"variants": "4bit,8bit", "to": "x/y"}, "--to: several variants have the same destination, x/y"),
        ({"variants": "4bit,4bit"}, "--variants: two variants are named 4bit"),
        ({"variants": ""}, "--variants: list should have at least 1 item after validation, not 0"),
        ({"variants": "4bit", "bits": "4"}, "--bits: describes one variant, but --variants lists several"),
        ({"to": "x/{size}"}, "--to: 'x/{size}': unknown placeholder {size}"),
        ({"source": "../x;rm -rf"}, "--source: the folder "),
        ({"source": "a/b c"}, "--source: 'a/b c' is neither a repo (namespace/name) nor a folder (./path)"),
        ({"source": "a" * 300 + "/b"}, "--source: 'aaaa"),
        ({"name": "a/b"}, "--name: is not a name of letters, digits, '.', '_' and '-' (given: 'a/b')"),
        (
            {"license": "Apache 2.0"},
            "--license: is not a licence identifier, such as apache-2.0 (given: 'Apache 2.0')",
        ),
        ({"language": "en,english"}, "--language: is not a language code, such as en or zh-Hans (given: 'english')"),
    ],
)
def test_flags_are_named_as_flags(flags: dict[str, str], said: str) -> None:
    assert str(refused_flags(**({"source": "a/b"} | flags))).startswith(said)


def test_a_wrong_short_name_is_blamed_on_the_flag() -> None:
    error = refused_flags(source="a/b", variants="4bit,five")
    assert str(error.place) == "--variants"
    assert error.message.startswith("no variant is called 'five'")


def test_flags_and_file_give_an_equal_recipe(here: Path) -> None:
    file = here / "tiny.yaml"
    file.write_text(
        "name: tiny\nsource: acme/Tiny\nrevision: v1\nbase_model: up/Stream\nlicense: other\nlicense_name: Own\n"
        "license_link: https://example.org\nlanguage: [no, en]\nprivate: true\nadopt: false\n"
        "to: me/{source}-{bits}\ncard:\n  notes: '**mine**'\n"
        "variants:\n  - bits: 8\n    group_size: 32\n    mode: affine\n    dtype: float16\n"
    )
    flags = {
        "name": "tiny",
        "source": "acme/Tiny",
        "revision": "v1",
        "base_model": "up/Stream",
        "license": "other",
        "license_name": "Own",
        "license_link": "https://example.org",
        "language": "no,en",
        "private": "true",
        "adopt": "false",
        "to": "me/{source}-{bits}",
        "notes": "**mine**",
        "bits": "8",
        "group_size": "32",
        "mode": "affine",
        "dtype": "float16",
    }
    by_file, by_flags = recipe_from_file(file), recipe_from_flags(flags)
    assert by_file.spec == by_flags.spec
    assert by_file.destinations == by_flags.destinations
    assert (by_file.name, by_file.source_folder) == (by_flags.name, by_flags.source_folder)
    assert str(by_flags.place_of("source")) == ""


def test_short_names_are_the_same_by_flag_and_file(here: Path) -> None:
    names = ["4bit", "mxfp4", "mixed_3_6", "bf16"]
    by_flags = recipe_from_flags({"source": "a/b", "variants": "4bit, mxfp4,mixed_3_6\nbf16"})
    by_file = recipe_from_file(written(f"source: a/b\nvariants: [{', '.join(names)}]\n"))
    assert by_flags.variants == by_file.variants
    assert list(by_flags.destinations) == names


def test_a_folder_by_flag_needs_no_dot(here: Path) -> None:
    (here / "models" / "Tiny").mkdir(parents=True)
    found = recipe_from_flags({"source": "models/Tiny"})
    assert (found.source_folder, found.name) == (here / "models/Tiny", "Tiny")


@pytest.mark.parametrize("key", sorted(RECIPE_FLAGS))
def test_hostile_inputs_are_bad_input_or_stay_the_text_that_they_are(here: Path, key: str) -> None:
    for value in (*HOSTILE, *WORSE):
        found = made_of({"source": "a/b", "to": "lab/{source}-{variant}", key: value})
        if isinstance(found, BadInput):
            assert len(str(found)) < 2000, (key, value[:50])
            continue
        # A name of a folder or a repo is one part of a path, and never leads out of where it belongs.
        assert re.fullmatch(r"[\w.-]+", found.name), (key, value)
        assert found.name not in (".", "..")
        for destination in found.destinations.values():
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", destination.reviewed_as), (key, value)
            assert ".." not in destination.reviewed_as.split("/")
        if key == "notes":
            assert found.spec.card.notes == value
        if key in ("license", "license_name", "revision", "collection"):
            assert getattr(found.spec, key) == value
        if key == "base_model":
            assert found.spec.base_model == repo_of(value)
    assert [path.name for path in here.iterdir()] == ["recipes"]


def made_of(flags: dict[str, str]) -> Recipe | BadInput:
    try:
        return recipe_from_flags(flags)
    except BadInput as error:
        return error
