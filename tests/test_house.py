"""What the lint session counts: a list that repeats a registry is found, and a count over its limit fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import house  # noqa: E402


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('WAY = ("inspect", "convert", "smoke", "fidelity")', [1]),
        ('\nHELP = {"plan": 1, "recipe": 2, "review": 3, "drift": 4, "x": 5}', [2]),
        ('FEW = ("inspect", "convert", "smoke")', []),
        ('OTHERS = ["a", "b", "c", "d"]', []),
    ],
)
def test_a_list_that_spells_a_registry_out_is_found(text: str, lines: list[int]) -> None:
    assert list(house.restated(text, Path("module.py"))) == lines


def test_dicts_and_rooms_are_counted(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "alone.py").write_text(f"x = [1]  {house.SKIP}\n")
    (tmp_path / "room/__init__.py").write_text("a: Mapping[str, Any]\nb: Mapping[str, Any]\n")
    assert house.counts(tmp_path) == {
        "untyped-mappings": 2,
        "modules-at-the-root": 1,
        "rooms": 1,
        "restated-lists": 0,
        "unformatted-lines": 1,
    }


def test_a_count_over_its_limit_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    more = {name: number + 1 for name, number in house.counts().items()}
    monkeypatch.setattr(house, "counts", lambda: {**more, "rooms": 10**6})
    assert house.main() == 1
    assert "rooms: 1000000, at most 26  TOO MANY" in capsys.readouterr().out
