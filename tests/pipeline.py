"""Run the command as its users do, in a process of its own, and look at what it leaves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub import Hub  # isort: skip  before the client of the Hub

import in_process

ROOT = Path(__file__).parents[1]
STAGES = ("inspect", "convert", "smoke", "fidelity", "benchmark", "card", "upload")
# Nobody listens there, so no test can reach a Hub that it did not start.
NOWHERE = "http://127.0.0.1:9"
# As little measuring as the recipe allows, where a test is about something else.
QUICK: dict[str, Any] = {
    "smoke": {"max_tokens": 16},
    "fidelity": {"tokens": 32},
    "benchmark": {"prompt_tokens": 8, "generation_tokens": 4, "trials": 2},
}


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and what it said."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that was said in one line, because the console folds long ones."""
        return re.sub(r"\s+", " ", f"{self.out}\n{self.err}")


@dataclass
class User:
    """Somebody at a machine: a home, an environment with nothing of the developer's, and a Hub or none."""

    home: Path
    hub: Hub | None = None
    token: str | None = None
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this user's commands."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        here = self.hub.environment(self.token, self.home) if self.hub else {"HF_ENDPOINT": NOWHERE}
        (self.home / "tmp").mkdir(parents=True, exist_ok=True)
        own = {"HOME": str(self.home), "TMPDIR": str(self.home / "tmp"), "HF_HOME": str(self.home / "huggingface")}
        return kept | here | own | {"PYTHONPATH": str(ROOT / "scripts")} | self.more

    def command(self, *words: object, through: str = "") -> list[str]:
        """Return the program and its arguments; `through` is python or nox."""
        first, *rest = map(str, words)
        if through == "nox":
            nox = [sys.executable, "-m", "nox", "--no-error-on-missing-interpreters", "-f", str(ROOT / "noxfile.py")]
            return [*nox, "-s", first, "--", *rest]
        return [sys.executable, "-m", "mlx_publish", first, *rest]

    def run(self, *words: object, code: int = 0, through: str = "") -> Ended:
        """Run a command to its end and assert its exit code. No failure may look like a crash.

        `through` is python or nox where it has to be a process of its own.
        """
        environment = self.environment
        if not through and not (self.hub and self.hub.xet) and in_process.STARTED_WITH.isdisjoint(self.more):
            ended = Ended(*in_process.run([*map(str, words)], environment, self.home))
        else:
            ended = self._run(words, through, environment)
        assert ended.code == code, f"exit {ended.code} instead of {code}\n{ended.out}\n{ended.err}"
        assert "Traceback" not in ended.text
        return ended

    def _run(self, words: Sequence[object], through: str, environment: dict[str, str]) -> Ended:
        if through == "nox":
            del environment["PYTHONPATH"]
            environment["MLX_PUBLISH_ENVIRONMENT"] = sys.prefix
        done = subprocess.run(
            self.command(*words, through=through),
            env=environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            self.command(*words),
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def wait_for(happened: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something is so; a test that waits in vain fails here."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def children(process: int) -> set[int]:
    """Return the ids of the processes that a process started, from any of its threads; none where it has ended."""
    found = set()
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= {int(word) for word in task.read_text().split()}
    return found


def command_of(process: int) -> str:
    """Return the command line of a process; before its program has begun that is its parent's."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def read_so_far() -> int:
    """Return the bytes that this process and all of its children that have ended have read: Linux counts them."""
    return int(Path("/proc/self/io").read_text().splitlines()[0].removeprefix("rchar: "))


def alive(process: int) -> bool:
    """Tell whether a process runs; one that has ended and was not asked for its exit code does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_recipe(path: Path, **keys: object) -> Path:
    """Write a recipe that measures little; JSON is YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(QUICK | keys, indent=1), encoding="utf-8")
    return path


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def remote_digests(hub: Hub, repo: str, rev: str = "main") -> dict[str, str]:
    """SHA-256 of the files of a revision as they lie on the Hub's disk, without what the Hub adds."""
    found = hub.store.find(repo)
    assert found
    at = {path: found.object(file.digest) for path, file in hub.tree(repo, rev).items() if path != ".gitattributes"}
    return {path: hashlib.sha256(object_.read_bytes()).hexdigest() for path, object_ in at.items()}


def checks(folder: Path, stage: str) -> dict[str, str]:
    """Status of each check of a stage's report in a variant's folder."""
    return {check["id"]: check["status"] for check in read_json(folder / f"{stage}.json")["checks"]}


def reports(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the reports that lie in a variant's folder, by stage."""
    for stage in STAGES:
        if (path := folder / f"{stage}.json").exists():
            yield stage, read_json(path)


def leftovers(folder: Path) -> list[str]:
    """Return what half-done work leaves: folders and files beside what they were to become."""
    return sorted(str(path) for path in folder.rglob(".*") if re.search(r"\.(new|old)-|\.json\.", path.name))


def run_snippet(card: Path, user: User) -> str:
    """Run the card's Python as a reader would, beside the folder that it loads; returns what it printed."""
    found = re.search(r"^```python\n(.*?)^```$", card.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found, "the card has no Python"
    environment = user.environment
    del environment["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, "-c", found[1]],
        env=environment,
        cwd=card.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
