"""Killed outright at any moment, a conversion is finished by the next run, with the very same bytes."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from gate import untouched
from models import make_model
from pipeline import User, alive, children, digests, leftovers, wait_for

LABELS = ("4bit", "8bit", "bf16")
MOMENTS = 10

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@dataclass(frozen=True)
class Undisturbed:
    source: Path
    digests: Mapping[str, str]
    seconds: float


def flags(source: Path, work: Path) -> list[object]:
    return ["convert", "--source", source, "--variants", ",".join(LABELS), "--work", work]


def made(work: Path) -> dict[str, str]:
    """All files of all converted folders."""
    return {
        f"{label}/{path}": digest for label in LABELS for path, digest in digests(work / "m" / label / "model").items()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """A model of some 30 MB, converted in peace."""
    root = tmp_path_factory.mktemp("undisturbed")
    source = make_model(root / "m", hidden=1024, layers=4)
    assert sum(path.stat().st_size for path in source.glob("*.safetensors")) > 27e6
    start = time.monotonic()
    User(root / "home").run(*flags(source, root / "work"), through="python")
    seconds = time.monotonic() - start
    found = made(root / "work")
    assert sum(path.endswith("model.safetensors") for path in found) == len(LABELS)
    shutil.rmtree(root / "work")
    return Undisturbed(source, found, seconds)


# Every other tenth: a run has five steps that leave something, and other tests kill the child of each.
@pytest.mark.parametrize(
    "number", [pytest.param(at, marks=pytest.mark.nightly if at % 2 else ()) for at in range(MOMENTS)]
)
def test_the_next_run_ends_with_the_same_bytes(tmp_path: Path, undisturbed: Undisturbed, number: int) -> None:
    # One moment in each tenth of the time, the start of Python left out.
    part = (number + random.Random(number).random()) / MOMENTS  # noqa: S311 -- any moments do
    words = flags(undisturbed.source, tmp_path / "work")
    user = User(tmp_path / "home")
    with untouched(undisturbed.source):
        started = kill(user.start(*words), 0.3 + part * (undisturbed.seconds - 0.4))
        wait_for(lambda: not any(alive(child) for child in started))
        for label in LABELS:
            folder = tmp_path / "work/m" / label / "model"
            if folder.exists():  # complete or not at all
                assert digests(folder) == {
                    path.partition("/")[2]: digest
                    for path, digest in undisturbed.digests.items()
                    if path.startswith(f"{label}/")
                }
        user.run(*words)
    assert made(tmp_path / "work") == undisturbed.digests
    assert not leftovers(tmp_path / "work")
    shutil.rmtree(tmp_path / "work")


def kill(process: subprocess.Popen[str], after: float) -> set[int]:
    """Kill a command and nobody else; returns the processes that it had started."""
    time.sleep(after)
    started = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return started
