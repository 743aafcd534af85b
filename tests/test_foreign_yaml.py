"""YAML of strangers costs no more than a recipe: what stands for more is refused at its line, before it is built."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import mlx_publish
from mlx_publish.errors import BadInput
from mlx_publish.hooks.faults import Options
from mlx_publish.hooks.front_matter import faults
from mlx_publish.hooks.mlx_recipe import look
from mlx_publish.model.card import parse_card
from mlx_publish.recipes.policy import read_policy
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.text.yaml import scalar

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)
SCRIPTS = Path(mlx_publish.__file__).parents[1]
HOSTILE = {
    "a bomb of aliases": (f"source: a/b\n{BOMB}", 2, "&a: anchors and aliases are not supported"),
    "a bomb of quoted keys": (f'"source": a/b\n{BOMB}', 2, "&a: anchors"),
    "an anchor behind a tag": ("source: a/b\nx: !!str &b c\n", 2, "&b: anchors"),
    "an anchor of a key": ("source: a/b\n&k x: y\n", 2, "&k: anchors"),
    "an alias that stands for itself": ("source: a/b\nx: &x [*x]\n", 2, "&x: anchors"),
    "a merge key": ("source: a/b\nx:\n  <<: {bits: 4}\n", 3, "<<: merge keys are not supported"),
    "a merge key in a flow": ("source: a/b\nx: {<<: [{bits: 4}]}\n", 2, "<<: merge keys"),
    "brackets": ("source: a/b\nx:\n- " + "[" * 5000, 3, "nested deeper than 32 levels"),
    "brackets on lines": ("source: a/b\nx:\n  " + "[\n  " * 5000, 34, "nested deeper than 32 levels"),
    "braces": ("source: a/b\nx: " + "{a: " * 5000, 2, "nested deeper than 32 levels"),
    "dashes": ("source: a/b\nx:\n" + "- " * 5000 + "a", 3, "nested deeper than 32 levels"),
    "steps": ("".join(f"{' ' * n}a:\n" for n in range(1200)), 33, "nested deeper than 32 levels"),
    "values": ("source: a/b\nx: [" + "1, " * 50_000 + "1]\n", 2, "has more than 20,000 values"),
    "a number": ("source: a/b\nbits: " + "9" * 5000 + "\n", 2, "a number of 5,000 digits: 9999"),
    "a hexadecimal number": ("source: a/b\nbits: 0x" + "f" * 50_000 + "\n", 2, "a number of 50,002 digits: 0xfff"),
    "a number in base 60": ("%YAML 1.1\n---\nbits: " + "1:" * 50_000 + "1\n", 3, "a number of 100,001 digits"),
    "14 MB": ("source: a/b\nnotes: " + "x" * 14_000_000, 0, "is larger than 1,000,000 characters"),
    "14 MB of comments": ("# x\n" * 3_500_000, 0, "is larger than 1,000,000 characters"),
}


@pytest.fixture(params=HOSTILE)
def case(request: pytest.FixtureRequest) -> tuple[str, int, str]:
    return HOSTILE[request.param]


def test_in_a_recipe_it_is_bad_input_at_its_line(case: tuple[str, int, str], tmp_path: Path) -> None:
    text, line, said = case
    path = tmp_path / "r.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(BadInput) as caught:
        recipe_from_file(path, elsewhere=True)
    assert time.process_time() - start < 5
    assert str(caught.value.place) == (f"{path}:{line}" if line else str(path))
    assert said in caught.value.message
    assert len(str(caught.value)) < 500


def test_in_a_policy_it_is_bad_input_too(case: tuple[str, int, str], tmp_path: Path) -> None:
    path = tmp_path / "mlx-publish.yaml"
    path.write_text(case[0])
    with pytest.raises(BadInput) as caught:
        read_policy(path)
    assert case[2] in caught.value.message


def test_the_hook_tells_it_as_a_problem(case: tuple[str, int, str], tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(case[0])
    (problem,) = look((path,), Options())
    assert case[2] in problem.message


def test_in_a_card_of_a_branch_it_is_a_problem(case: tuple[str, int, str], tmp_path: Path) -> None:
    text = case[0].replace("%YAML 1.1\n---\n", "")
    found = list(faults(tmp_path / "README.md", f"---\n{text}\n---\n"))
    assert len(found) == 1
    assert len(found[0].message) < 300


# A card may repeat a list, as PyYAML writes it; what is a bomb all the same, tests/model/test_card.py has.
@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, (_, _, said) in HOSTILE.items()
        if name not in ("values", "a number in base 60") and "anchors" not in said
    ),
)
def test_of_a_source_s_card_nothing_is_read_then_and_that_is_told(name: str) -> None:
    found = parse_card(f"---\n{HOSTILE[name][0]}\n---\n# Text\n")
    assert (found.data, HOSTILE[name][2] in found.problem) == ({}, True)


def test_a_card_with_the_results_of_many_benchmarks_is_read() -> None:
    rows = "".join(f"  - task: t{n}\n    value: {n}.5\n" for n in range(6000))
    assert len(parse_card(f"---\nlicense: mit\nmodel-index:\n{rows}---\n").data["model-index"]) == 6000


def test_what_looks_like_an_anchor_and_is_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text('source: a/b\ncard:\n  notes: "&a *b <<: {x} [[[[" # &c\n')
    assert recipe_from_file(path, elsewhere=True).spec.card.notes == "&a *b <<: {x} [[[["


@pytest.mark.parametrize(
    "text", ["[" * 5000, "{a: " * 5000, "&a b", "*a", "9" * 5000, "0x" + "f" * 5000, "1e5 \x00", "- " * 5000]
)
def test_of_a_flag_all_that_is_no_number_and_no_truth_stays_text(text: str) -> None:
    assert scalar(text) == text


def test_without_libyaml_the_same_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"source: a/b\n{BOMB}")
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "import yaml; del yaml.CSafeLoader\n"
        "from mlx_publish.cli import main; sys.exit(main(['hook', 'mlx-recipe', 'r.yaml']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "r.yaml:2: &a: anchors and aliases are not supported" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['id']\n",
        "!x [a]\n",
        "source: !x [a]\n",
        "!!set {a, b}\n",
        "!!omap [a: b]\n",
        "? [a]\n: b\n",
        "? {a: b}\n: c\n",
        "x: !!int 'y'\n",
        "x: !!binary 'y'\n",
        "x: 2024-02-30\n",
        "x: !!timestamp 'y'\n",
        "x: !!bool y\n",
    ],
)
def test_what_yaml_has_beside_plain_data_is_bad_input(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(BadInput):
        recipe_from_file(tmp_path / "r.yaml", elsewhere=True)


@pytest.mark.parametrize("key", ["source", "to"])
@pytest.mark.parametrize(
    "value", ['"./a\\0b"', '"~\\0"', '"folder:a\\0"', '"folder:~\\0"', '"/a\\nb"', '"folder:\\e[31m"', '"a\\0/b"']
)
def test_a_path_with_a_character_that_no_path_has_is_bad_input(key: str, value: str, tmp_path: Path) -> None:
    lines = {"source": "a/b", key: value}
    (tmp_path / "r.yaml").write_text("".join(f"{name}: {text}\n" for name, text in lines.items()))
    with pytest.raises(BadInput) as caught:
        recipe_from_file(tmp_path / "r.yaml")
    assert str(caught.value.place) == f"{tmp_path / 'r.yaml'}:{list(lines).index(key) + 1}"
    assert "\x00" not in str(caught.value)
