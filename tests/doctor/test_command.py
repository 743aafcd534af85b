"""`mlx-publish doctor` on this machine."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import Fault, Hub
from pipeline import User


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


def test_this_machine_is_looked_at_and_nothing_is_left(hub: Hub, tmp_path: Path) -> None:
    user = User(tmp_path / "home", hub, "write")
    ended = user.run("doctor", "--json")
    checks = {check["id"]: check for check in json.loads(ended.out)["checks"]}
    assert platform.system() in ended.err or "macOS" in ended.err
    assert ": fit" in ended.err
    assert checks["device"]["status"] == checks["packages"]["status"] == checks["hub"]["status"] == "pass"
    assert checks["reference"]["status"] == ("warn" if platform.system() == "Linux" else "pass")  # not in these tests
    assert checks["token"]["message"] == "the token's role is write"
    assert {one.method for one in hub.log} <= {"GET", "HEAD"}
    assert not (user.home / "work").exists()
    assert not list((user.home / "tmp").iterdir())
    assert hub.token("write") not in ended.text


def test_a_read_token_is_told_before_the_work_begins(hub: Hub, tmp_path: Path) -> None:
    said = User(tmp_path / "home", hub, "read").run("doctor").text
    assert "this token cannot publish: read" in said


def test_a_hub_that_does_not_answer_is_the_surroundings_fault(hub: Hub, tmp_path: Path) -> None:
    hub.faults.append(Fault("GET", "/api/models", times=9, status=500))
    said = User(tmp_path / "home", hub).run("doctor", code=4).text
    assert "not fit: 1 problem" in said
    assert "hub" in said
    assert "HTTPS_PROXY" in said


def test_the_session_of_nox_has_mlx_and_ends_fit(hub: Hub, tmp_path: Path) -> None:
    ended = User(tmp_path / "home", hub).run("doctor", through="nox")
    assert ": fit" in ended.text
    assert "not installed in" not in ended.text
