"""A class of mlx-lm that ends the process is refused by name of what it lacks."""

from __future__ import annotations

import sys

import pytest

from mlx_publish.engine.source_model import going_on
from mlx_publish.errors import Refused


def ends_for_want_of_a_package() -> None:
    try:
        import no_such_package  # type: ignore[import-not-found]  # noqa: F401, PLC0415
    except ImportError:
        print("To run it install this")
        sys.exit(1)


def test_the_missing_package_is_named_with_what_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    words = r"no_such_package is not installed \(To run it install this\)"
    with pytest.raises(Refused, match=words) as refused, going_on():
        ends_for_want_of_a_package()
    assert refused.value.check == "builds"
    assert "To run it install this" in capsys.readouterr().out


def test_an_end_without_a_cause_is_told_with_its_code() -> None:
    with pytest.raises(Refused, match="it exits with code 7"), going_on():
        sys.exit(7)


def test_what_goes_well_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with going_on():
        print("loading")
    assert capsys.readouterr().out == "loading\n"
