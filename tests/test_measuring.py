"""What the benchmarks print beside their figures, and how they take them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("measuring")


def test_the_line_of_the_machine_names_processor_memory_and_versions(measuring: ModuleType) -> None:
    line = measuring.machine_line()
    assert "cores" in line
    assert "GiB of memory" in line
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in line
    assert "huggingface-hub" in line


def test_a_spread_has_the_median_between_the_lowest_and_the_highest(measuring: ModuleType) -> None:
    assert measuring.spread([3.0, 1.0, 1.5]).text() == "1.50 s (1.00 to 3.00)"


def test_ratios_are_taken_round_by_round(measuring: ModuleType) -> None:
    assert measuring.ratios([1.0, 3.0], [2.0, 3.0]).text("") == "0.75 (0.50 to 1.00)"


def test_a_command_is_measured_with_its_children_and_all_that_it_prints(measuring: ModuleType) -> None:
    child = "sum(range(3_000_000)); print('x' * 200_000)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    taken = measuring.measure([sys.executable, "-c", program])
    assert 0 < taken.processor < 60
    assert taken.memory > 1_000_000
    assert taken.seconds > 0


def test_a_command_that_fails_shows_its_output(measuring: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 3:\nwhy"):
        measuring.measure([sys.executable, "-c", "print('why'); raise SystemExit(3)"], memory=False)
