"""What others could write to is no place for code that we load."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_publish.children.private import is_private, kernels, private_folder


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    kernels.cache_clear()
    yield
    kernels.cache_clear()


def test_a_folder_is_made_for_us_alone(tmp_path: Path) -> None:
    made = private_folder(tmp_path / "a" / "b")
    assert made == tmp_path / "a/b"
    assert [path.stat().st_mode & 0o777 for path in (made, made.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_one_that_others_write_to_is_not_taken(tmp_path: Path, mode: int) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(mode)
    assert private_folder(tmp_path / "kernels") is None


def test_nor_one_in_a_folder_that_others_write_to(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert private_folder(tmp_path / "open" / "kernels") is None
    (tmp_path / "open").chmod(0o1777)
    assert private_folder(tmp_path / "open" / "kernels")


def test_nor_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "kernels").symlink_to("there")
    assert private_folder(tmp_path / "kernels") is None


def test_nor_what_belongs_to_somebody_else(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("only root gives folders away")
    (tmp_path / "kernels").mkdir(mode=0o700)
    os.chown(tmp_path / "kernels", 1234, 1234)
    assert not is_private(tmp_path / "kernels")


def test_where_the_cache_is_no_good_kernels_live_as_long_as_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[object, ...]] = []
    monkeypatch.setattr(atexit, "register", lambda *words, **_: ended.append(words))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(0o777)
    monkeypatch.setenv("MLX_PUBLISH_CACHE", str(tmp_path))
    found = kernels()
    assert found.parent != tmp_path
    assert found.stat().st_mode & 0o777 == 0o700
    assert [words[1] for words in ended] == [found]
    found.rmdir()
