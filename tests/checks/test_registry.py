"""The registry: every check once, each with words; a recipe accepts only what there is and what may be accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_publish.checks.acceptances import judge_acceptances
from mlx_publish.checks.registry import BY_STAGE
from mlx_publish.errors import BadInput
from mlx_publish.evidence.stages import NAMES
from mlx_publish.recipes.read import recipe_from_file

ALL = [check for checks in BY_STAGE.values() for check in checks]


def test_ids_are_unique_and_every_check_says_what_it_protects_from() -> None:
    ids = [check.id for check in ALL]
    assert sorted(ids) == sorted(set(ids))
    for check in ALL:
        assert check.id == check.id.lower().strip()
        assert check.title
        assert check.protects


def test_the_stages_are_the_stages() -> None:
    assert tuple(BY_STAGE) == NAMES


def recipe(tmp_path: Path, check: str) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(
        "source: acme/x\naccept:\n  - {check: licence, reason: an internal test}\n"
        f"  - check: {check}\n    reason: because it is so\n"
    )
    return path


def test_what_exists_may_be_accepted(tmp_path: Path) -> None:
    judge_acceptances(recipe_from_file(recipe(tmp_path, "mean-kld")))


def test_an_unknown_check_is_bad_input_with_near_names(tmp_path: Path) -> None:
    path = recipe(tmp_path, "mean-kdl")
    with pytest.raises(BadInput) as caught:
        judge_acceptances(recipe_from_file(path))
    assert str(caught.value) == f"{path}:4: accept[1].check: unknown check 'mean-kdl'"
    assert "mean-kld" in caught.value.remedy


def test_no_near_name_is_invented(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        judge_acceptances(recipe_from_file(recipe(tmp_path, "qqqqqqqq")))
    assert caught.value.remedy == "docs/checks.md lists them all."


@pytest.mark.parametrize("check", [check.id for check in ALL if check.safety])
def test_a_safety_check_cannot_be_accepted(tmp_path: Path, check: str) -> None:
    with pytest.raises(BadInput, match="is for safety and cannot be accepted"):
        judge_acceptances(recipe_from_file(recipe(tmp_path, check)))
