"""clean: weights that nobody has needed for some time leave the work folder; what made them, and says of them, stays.

Nothing goes that mlx-publish did not write itself: the digest has to be the one that the conversion reported.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.recipes.policy import FILE, find_policy
from mlx_publish.text.console import Console
from mlx_publish.text.numbers import size
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


def days_of(given: float | None, *, alone: bool) -> float | None:
    """Days that were given, else those of the policy; where it has none, 14 by hand and, `alone` in a job, none.

    What runs after each publication removes nothing that nobody asked it to remove.
    """
    if given is not None:
        return given
    policy = find_policy(Path.cwd())
    if policy is not None and policy.spec.keep_days is not None:
        return policy.spec.keep_days
    return None if alone else KEEP_DAYS


def clean(root: Path, days: float | None, console: Console, *, keep: bool = False) -> int:
    """Remove weights of recipes in the work folder `root` whose last report is older than `days`; returns 0.

    They are made again, from the same commit to the same bytes, when they are needed. With `keep` they are only named,
    and without `days` all stay. A recipe that is being worked on is left alone.
    """
    if not root.is_dir():
        raise BadInput("there is no such work folder", place=f"--work {root}", remedy="Name the one of your jobs.")
    if days is None:
        console.say(f"everything is kept; keep_days in {FILE} would say for how long")
        return 0
    freed = 0
    for folder in sorted({path.parent.parent for path in root.glob("*/*/convert.json")}):
        work = Work(root, folder.name)
        if time.time() - _last(folder) < days * DAY:
            continue
        try:
            with work.lock():
                freed += sum(_remove(one, console, keep=keep) for one in _stale(work))
        except SurroundingsError as error:
            console.say(f"{folder.name} is left alone: {error.message}")
    console.say(f"{'would free' if keep else 'freed'} {size(freed)}")
    return 0


def _last(folder: Path) -> float:
    """When a report of a recipe was last written, in seconds since 1970; never, where there is none."""
    return max((path.stat().st_mtime for path in folder.glob("*/*.json")), default=time.time())


def _stale(work: Work) -> Iterator[Stale]:
    for label in sorted(path.parent.name for path in work.folder.glob("*/convert.json")):
        report = work.report(label, "convert")
        for file in report.result.get("files", ()) if report else ():
            path = work.model(label) / str(file["path"])
            if path.suffix == ".safetensors" and _is(path, file):
                yield Stale(path, path.stat().st_size)
    store = work.source / "reference"
    if (store / "passages.json").is_file():
        yield from (Stale(path, path.stat().st_size) for path in sorted(store.iterdir()) if _PIECE.fullmatch(path.name))


def _is(path: Path, file: Mapping[str, Any]) -> bool:
    """Tell whether a file is the one that was reported."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file["size"]:
        return False
    return bool(sha256_of(path) == file["sha256"])


def _remove(stale: Stale, console: Console, *, keep: bool) -> int:
    console.say(f"{'would remove' if keep else 'removing'} {stale.path} ({size(stale.bytes)})")
    if not keep:
        stale.path.unlink()
    return stale.bytes
