"""One class an exit code."""

from __future__ import annotations

import pytest

from mlx_publish import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.Refused, 1),
        (errors.BadInput, 2),
        (errors.Bug, 3),
        (errors.PublishError, 3),
        (errors.SurroundingsError, 4),
        (errors.Interrupted, 130),
    ],
)
def test_exit_codes(kind: type[errors.PublishError], code: int) -> None:
    error = kind("it broke", remedy="Mend it.")
    assert (error.exit_code, error.message, error.remedy, str(error)) == (code, "it broke", "Mend it.", "it broke")
    assert isinstance(error, errors.PublishError)


def test_bad_input_is_told_with_its_place() -> None:
    assert str(errors.BadInput("is wrong", place=errors.in_file("r.yaml", 3), key="to")) == "r.yaml:3: to: is wrong"
    assert str(errors.BadInput("is wrong", place="--to")) == "--to: is wrong"
    assert errors.BadInput("is wrong", place="--to").message == "is wrong"


def test_a_refusal_names_its_check_and_place() -> None:
    error = errors.Refused("is not JSON", check="readable", place=errors.in_file("config.json", 3))
    assert (error.check, error.message, str(error)) == ("readable", "is not JSON", "config.json:3: is not JSON")
    assert errors.Refused("x").check == "readable"
