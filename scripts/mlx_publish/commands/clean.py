"""clean: weights that nobody has needed for some time leave the work folder; what made them, and says of them, stays.

Nothing goes that mlx-publish did not write itself: the digest has to be the one that the conversion reported.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.commands._arguments import add_from_env
from mlx_publish.commands._command import Command
from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.text.console import Console
from mlx_publish.text.numbers import size

if TYPE_CHECKING:
    from mlx_publish.evidence.digests import FileDigest
    from mlx_publish.work import Work

DAY = 86400.0
KEEP_DAYS = 14
"""Days for which weights are kept where neither flag nor policy says it, by hand."""
_PIECE = re.compile(r"\d{5}\.safetensors")


@dataclass(frozen=True)
class Stale:
    """A file that may go, and its bytes."""

    path: Path
    bytes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how long weights are kept."""
    parser.add_argument("--work", type=Path, metavar="DIR", help="work folder (default: work)")
    text = "days since the last report (default: the policy's, or 14)"
    parser.add_argument("--older-than", metavar="DAYS", help=text)
    parser.add_argument("--dry-run", action="store_true", help="only name them")
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Remove old weights from the work folder."""
    days = days_of(_number(options.older_than), alone=options.from_env)
    return clean(options.work or Path("work"), days, console, keep=options.dry_run)


def _number(text: str | None) -> float | None:
    """Return days as a number, None where none are given. Raises `BadInput` where they are no number."""
    if not text:
        return None
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 <= days <= 36500:
        raise BadInput(f"'{text}' is no number of days", place="--older-than", remedy="Write a number, as 14.")
    return days


def days_of(given: float | None, *, alone: bool) -> float | None:
    """Return the days given, else those of the policy; where it has none, 14 by hand and, `alone` in a job, none.

    What runs after each publication removes nothing that nobody asked it to remove.
    """
    if given is not None:
        return given
    from mlx_publish.recipes.policy import find_policy

    policy = find_policy(Path.cwd())
    if policy is not None and policy.spec.keep_days is not None:
        return policy.spec.keep_days
    return None if alone else KEEP_DAYS


def clean(root: Path, days: float | None, console: Console, *, keep: bool = False) -> int:
    """Remove weights of recipes in the work folder `root` whose last report is older than `days`; return 0.

    They are made again, from the same commit to the same bytes, when they are needed. With `keep` they are only named,
    and without `days` all stay. A recipe that is being worked on is left alone.
    """
    from mlx_publish.recipes.policy import FILE
    from mlx_publish.work import Work

    if not root.is_dir():
        raise BadInput("there is no such work folder", place=f"--work {root}", remedy="Name the one of your jobs.")
    if days is None:
        console.say(f"everything is kept; keep_days in {FILE} would say for how long")
        return 0
    freed = 0
    for folder in sorted({path.parent.parent for path in root.glob("*/*/convert.json")}):
        work = Work(root, folder.name)
        last = max((path.stat().st_mtime for path in folder.glob("*/*.json")), default=time.time())
        if time.time() - last < days * DAY:
            continue
        try:
            with work.lock():
                for stale in _stale(work):
                    console.say(f"{'would remove' if keep else 'removing'} {stale.path} ({size(stale.bytes)})")
                    if not keep:
                        stale.path.unlink()
                    freed += stale.bytes
        except SurroundingsError as error:
            console.say(f"{folder.name} is left alone: {error.message}")
    console.say(f"{'would free' if keep else 'freed'} {size(freed)}")
    return 0


def _stale(work: Work) -> Iterator[Stale]:
    from mlx_publish.evidence.results import Converted

    for label in sorted(path.parent.name for path in work.folder.glob("*/convert.json")):
        report = work.report(label, "convert")
        converted = report.read(Converted) if report else None
        for file in converted.files if converted else ():
            path = work.model(label) / file.path
            if path.suffix == ".safetensors" and _is_reported(path, file):
                yield Stale(path, file.size)
    store = work.source / "reference"
    if (store / "passages.json").is_file():
        yield from (Stale(path, path.stat().st_size) for path in sorted(store.iterdir()) if _PIECE.fullmatch(path.name))


def _is_reported(path: Path, file: FileDigest) -> bool:
    """Tell whether a file is the one that was reported."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
        return False
    from mlx_publish.evidence.digests import sha256_of

    return sha256_of(path) == file.sha256


COMMAND = Command(
    "clean",
    "remove weights that nobody has needed for some days",
    35,
    add_arguments,
    run,
    inputs={"older_than": "keep_days", "dry_run": ""},
)
