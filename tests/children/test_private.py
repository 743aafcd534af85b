"""What others could write to is no place for code that we load (tests/children/test_private_folder.py has the rest)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_publish.children.environment import _for_this_process, kernels


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    for one in (kernels, _for_this_process):
        one.cache_clear()
    yield
    for one in (kernels, _for_this_process):
        one.cache_clear()


@pytest.mark.parametrize("variable", ["MLX_PUBLISH_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_kernels_are_kept_in_the_users_own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("MLX_PUBLISH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    found = kernels()
    assert found.is_relative_to(tmp_path)
    assert found.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o707, 0o777, 0o1777])
def test_where_others_write_to_the_cache_kernels_live_as_long_as_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(mode)
    monkeypatch.setenv("MLX_PUBLISH_CACHE", str(tmp_path))
    found = kernels()
    assert found.parent != tmp_path
    assert found.stat().st_mode & 0o777 == 0o700
    made = _for_this_process()
    assert made.path == found
    made.cleanup()
    assert not found.exists()
