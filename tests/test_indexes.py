"""Which indexes are asked for packages, and what is said of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import indexes
from indexes import PYPI, ForUv, Indexes


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*indexes._OF_UV, "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr(indexes, "_SYSTEM", ())


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://me:secret@pypi.example.org/simple", "https://pypi.example.org/simple"),
        ("https://token@pypi.example.org:8443/simple?key=secret#secret", "https://pypi.example.org:8443/simple"),
        ("https://a:b@c@pypi.example.org/simple", "https://pypi.example.org/simple"),
        ("/opt/wheels", "/opt/wheels"),
        ("https://x.org/\x1b[31m/##[error]x", "https://x.org/?[31m/"),
        ("https://x.org/::error::x", "https://x.org/:?error:?x"),
        ("https://x.org/" + "y" * 9000, "https://x.org/" + "y" * 186),
        ("https://[broken", "?"),
    ],
)
def test_an_address_is_said_without_what_is_secret_or_would_be_obeyed(address: str, said: str) -> None:
    assert indexes.shown(address) == said


def test_pips_settings_count_in_its_own_order() -> None:
    text = (
        "global.index-url='https://a.org/simple'\n"
        "install.index-url='https://b.org/simple'\n"
        "global.extra-index-url='\\nhttps://c.org/simple\\nhttps://d.org/simple'\n"
        ":env:.find-links='/opt/wheels'\n"
        "freeze.timeout='10'\n"
    )
    assert indexes.read(text) == {
        "index-url": "https://b.org/simple",
        "extra-index-url": "https://c.org/simple\nhttps://d.org/simple",
        "find-links": "/opt/wheels",
    }


def test_without_settings_it_is_pypi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "of_pip", lambda python: Indexes())
    assert indexes.for_uv(sys.executable) == ForUv(PYPI)


def test_uv_asks_what_pip_is_set_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        indexes,
        "_settings",
        lambda python: {
            "index-url": "https://me:secret@a.org/simple",
            "extra-index-url": "https://b.org/simple",
            "find-links": "/x /y",
        },
    )
    told = indexes.for_uv(sys.executable)
    assert told.variables == {
        "UV_INDEX": "https://me:secret@a.org/simple",
        "UV_DEFAULT_INDEX": "https://b.org/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/x,/y",
    }
    assert told.said == "https://a.org/simple, https://b.org/simple, /x, /y"


def test_without_an_index_only_links_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "_settings", lambda python: {"no-index": "true", "find-links": "/x"})
    told = indexes.for_uv(sys.executable)
    assert (told.options, told.variables["UV_FIND_LINKS"], told.said) == (("--no-index",), "/x", "/x")
    assert "UV_DEFAULT_INDEX" not in told.variables


def test_what_uv_is_set_to_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.org/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://me:secret@uv.org/simple")
    assert indexes.for_uv(sys.executable) == ForUv("https://uv.org/simple (UV_DEFAULT_INDEX)")
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text('[[index]]\nurl = "https://file.org/simple"\n')
    assert indexes.for_uv(sys.executable) == ForUv(f"what {tmp_path}/uv/uv.toml names")


def test_where_there_is_no_pip_its_variables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.org/simple")
    assert indexes.of_pip("/bin/false") == Indexes(("https://pip.org/simple",))
