"""What a branch may cost whoever reviews it: links, huge cards, texts that make a reader's work grow with their square."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_publish.card.chart import Rung, ladder_chart
from mlx_publish.commands._review_cards import review_cards
from mlx_publish.evidence.evidence import faults
from mlx_publish.github.runner import Runner
from mlx_publish.hooks.json_lines import MOST, key_lines
from mlx_publish.hooks.mlx_card import differences
from mlx_publish.recipes.recipe import MOST_VARIANTS
from mlx_publish.text.harmless import harmless
from mlx_publish.text.markdown import unclosed
from samples import make_evidence
from test_card_review import NAMES, commit, replace, tree
from test_review import git

__all__ = ["tree"]
CARD = f"cards/lab/{NAMES[0]}"


def reviewed(root: Path) -> tuple[int, str]:
    commit(root)
    code = review_cards(
        root, "main", Path("cards"), Path("recipes"), Runner(obeys=True, summary=str(root.parent / "summary"))
    )
    return code, (root.parent / "summary").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "place",
    [
        f"{CARD}/README.md",
        f"{CARD}/evidence.json",
        f"{CARD}/ladder.svg",
        f"{CARD}/evidence.sig",
        CARD,
        "cards/lab",
        "cards",
        "recipes/model-0.yaml",
        "recipes",
        "mlx-publish.yaml",
        "templates",
        "templates/card",
        "templates/card/limits.md.j2",
    ],
)
def test_nothing_is_read_through_a_link_of_a_branch(
    tree: Path, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside"
    secret = "a secret of this machine"
    outside.write_text(secret)
    path = tree / place
    if path.exists():
        path.rename(tmp_path / "moved")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside)
    code, summary = reviewed(tree)
    said = capsys.readouterr()
    assert code == 1
    assert f"{place}:1: is a link; linked files are never read" in said.out
    assert secret not in said.out + said.err + summary


def test_a_list_of_signers_is_no_link_either(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(tree / "mlx-publish.yaml", "namespaces: [lab]", "namespaces: [lab]\nattested: {signers: keys/signers.txt}")
    (tmp_path / "outside").mkdir()
    (tree / "keys").symlink_to(tmp_path / "outside")
    assert reviewed(tree)[0] == 1
    assert "keys:1: is a link" in capsys.readouterr().out


def test_links_elsewhere_are_nobodys_business(tree: Path) -> None:
    (tree / "docs").symlink_to("models")
    assert reviewed(tree)[0] == 0


@pytest.mark.parametrize("change", ["policy", "template", "signers"])
def test_whoever_merges_is_told_that_a_branch_changes_the_rules_it_is_judged_by(
    tree: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tree / "mlx-publish.yaml"
    if change == "signers":
        git(tree, "switch", "--quiet", "main")
        replace(policy, "namespaces: [lab]", "namespaces: [lab]\nattested: {signers: signers.txt}")
        (tree / "signers.txt").write_text("somebody\n")
        commit(tree)
        git(tree, "switch", "--quiet", "branch")
        git(tree, "reset", "--quiet", "--hard", "main")
    where = {"policy": policy, "template": tree / "templates/card/new.j2", "signers": tree / "signers.txt"}[change]
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text((where.read_text() if where.exists() else "") + "# more\n")
    _, summary = reviewed(tree)
    told = f"This branch changes the rules it is judged by: {where.relative_to(tree)}"
    assert told in capsys.readouterr().out
    assert "changes the rules it is judged by" in summary


def test_a_card_of_many_megabytes_is_not_read(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / CARD / "README.md").write_text("\n" * (5 << 20))
    start = time.monotonic()
    assert reviewed(tree)[0] == 1
    assert "is larger than 4,194,304 bytes" in capsys.readouterr().out
    assert time.monotonic() - start < 20


def test_a_thousand_faults_of_front_matter_are_told_in_some_lines(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / CARD / "README.md").write_text("---\nlicense: mit\ntags:\n" + "- 1\n" * 5000 + "---\n")
    assert reviewed(tree)[0] == 1
    said = capsys.readouterr().out
    assert "and 4" in said
    assert "more errors" in said
    assert said.count("\n") < 100


def test_a_recipe_of_a_name_that_no_file_can_have_is_a_problem(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(tree / CARD / "evidence.json", '"recipe": "model-0"', f'"recipe": "{"x" * 5000}"')
    assert reviewed(tree)[0] == 1
    said = capsys.readouterr().out
    assert "a recipe cannot be called" in said
    assert len(said) < 5000


def _lines(count: int) -> str:
    return "\n".join(f"{number % 7}" for number in range(count))


@pytest.mark.parametrize(
    "costly",
    [
        pytest.param(lambda: list(differences("x" * 300_000, "y" * 300_000)), id="a long word"),
        pytest.param(lambda: list(differences("a\n" + "\n" * 300_000, "\n" * 300_000 + "b")), id="empty lines"),
        pytest.param(lambda: list(differences(_lines(100_000), _lines(100_003))), id="lines that are alike"),
        pytest.param(lambda: unclosed(" ".join("`" * (number % 900 + 1) for number in range(2000))), id="backticks"),
        pytest.param(lambda: unclosed("` `` " * 100_000), id="pairs of backticks"),
        pytest.param(lambda: harmless("\n" * 300_000 + "x"), id="a log of empty lines"),
        pytest.param(lambda: harmless("#" + " " * 300_000 + "x"), id="a log of blanks"),
        pytest.param(lambda: list(faults(make_evidence(checks=[0] * 500_000))), id="checks"),
        pytest.param(lambda: list(faults(make_evidence(tools={str(n): n for n in range(300_000)}))), id="tools"),
        pytest.param(lambda: key_lines('{"' + "k" * 1_000_000 + '": [' + "0," * 400_000 + "0]}"), id="a long key"),
        pytest.param(
            lambda: ladder_chart(
                [Rung(f"{n}bit", 10**9 + n, 0.01, 0.001, 50.0, "GPU", n == 3) for n in range(MOST_VARIANTS)], "m"
            ),
            id="variants",
        ),
    ],
)
def test_no_text_takes_the_square_of_its_length(costly: Callable[[], object]) -> None:
    start = time.process_time()
    costly()
    assert time.process_time() - start < 10


def test_code_within_lines_is_left_out_as_markdown_does() -> None:
    assert unclosed("`` <!-- ` ``") == ""
    assert unclosed("`<!--``") == "<!--"
    assert unclosed("``` <!-- ``") == "<!--"
    assert unclosed("`a` <!-- `b`") == "<!--"
    assert unclosed("`` ` `` <!-- `") == "<!--"


def test_a_command_behind_blank_lines_is_still_broken() -> None:
    for command in ("\n\n::error::x", " \t\n \u200b: :x", "a\r\n\u2028::x", "x # #[a", "##\u200b[a"):
        assert "\\" in harmless(command), command
    assert os.linesep == "\n"


def test_the_lines_of_keys_are_told_as_far_as_there_is_room() -> None:
    text = '{"a": 1,\n"' + "k" * (MOST + 1) + '": 2}'
    assert key_lines(text) == {"a": 1}
