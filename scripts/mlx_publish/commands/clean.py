"""clean: remove weights that nobody has needed for some days; what made them, and says of them, stays.

Nothing goes that mlx-publish did not write or load itself: the digest has to be the one that the conversion reported,
and of the Hub's cache only commits go that recipes here name or work folders report.
"""

from __future__ import annotations

import argparse
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.commands._arguments import add_from_env, add_json, add_recipes, print_json
from mlx_publish.commands._command import Command, Group
from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.text.console import Console
from mlx_publish.text.numbers import size

if TYPE_CHECKING:
    from mlx_publish.evidence.digests import FileDigest
    from mlx_publish.work import Work

DAY = 86400.0
KEEP_DAYS = 14
"""Days for which weights are kept where neither flag nor policy says it, by hand."""
_MADE = ("*/convert.json", "source/stream")
"""What a recipe's folder has that may hold weights."""
_PIECE = re.compile(r"\d{5}\.safetensors")


@dataclass(frozen=True)
class Stale:
    """A file that may go, or the folder of an interrupted conversion, and its bytes."""

    path: Path
    bytes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how long weights are kept, and where they are."""
    parser.add_argument("--work", type=Path, metavar="DIR", help="work folder (default: work)")
    text = "days since the last report (default: the policy's, or 14)"
    parser.add_argument("--older-than", metavar="DAYS", help=text)
    parser.add_argument(
        "--cache", action="store_true", help="also remove, from the Hub cache, the sources of recipes here"
    )
    add_recipes(parser)
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    add_json(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Remove old weights from the work folder, and old sources from the Hub's cache where that is asked for."""
    from mlx_publish.recipes.policy import FILE

    root, days = options.work or Path("work"), days_of(_number(options.older_than), alone=options.from_env)
    found = _judge_folder(root, by_hand=not options.from_env, optional=options.cache)
    stale: list[Stale] = []
    if days is None:
        console.say(f"kept everything: keep_days in {FILE} sets after how many days weights are removed")
    else:
        if found:
            stale += _clean_work(root, days, console, keep=options.dry_run)
        if options.cache:
            from mlx_publish.commands._clean_cache import clean_cache

            stale += clean_cache(root, options.recipes, time.time() - days * DAY, console, keep=options.dry_run)
        freed = sum(item.bytes for item in stale)
        console.say(f"{'would free' if options.dry_run else 'freed'} {size(freed)}")
        if not stale and days:
            console.say(f"nothing is older than {days:g} days; --older-than 0 takes all weights")
    removed = [{"path": str(item.path), "bytes": item.bytes} for item in stale]
    freed_bytes = sum(item.bytes for item in stale)
    print_json(options, {"dry_run": options.dry_run, "removed": removed, "bytes": freed_bytes})
    return 0


def _judge_folder(root: Path, *, by_hand: bool, optional: bool) -> bool:
    """Return whether there is a work folder. `BadInput` if there is none and it is what was asked for."""
    if root.is_dir() and (any(root.glob("*/*/*.json")) or not any(root.iterdir()) or not by_hand):
        return True
    if optional and not root.exists():
        return False
    what = "contains no reports of mlx-publish" if root.is_dir() else "does not exist"
    raise BadInput(
        f"no work folder here: {root.absolute()} {what}",
        place=f"--work {root}",
        remedy="Change to the folder where mlx-publish ran (the one with recipes/ and work/), or name its work "
        "folder with --work DIR.",
    )


def _number(text: str | None) -> float | None:
    """Return days as a number, None if none are given. Raises `BadInput` for anything else."""
    if not text:
        return None
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 <= days <= 36500:
        raise BadInput(f"'{text}' is not a number of days", place="--older-than", remedy="Give a number, such as 14.")
    return days


def days_of(given: float | None, *, alone: bool) -> float | None:
    """Return the days given, else those of the policy; where it has none, 14 by hand and, `alone` in a job, none.

    A job that cleans after each publication removes nothing unless it was told to.
    """
    if given is not None:
        return given
    from mlx_publish.recipes.policy import find_policy

    policy = find_policy(Path.cwd())
    if policy is not None and policy.spec.keep_days is not None:
        return policy.spec.keep_days
    return None if alone else KEEP_DAYS


def _clean_work(root: Path, days: float, console: Console, *, keep: bool) -> list[Stale]:
    """Remove weights of recipes whose last report is older than `days`; return them.

    They are made again, from the same commit to the same bytes, when they are needed. With `keep` they are only named.
    A recipe that is being worked on is left alone.
    """
    from mlx_publish.work import Work

    gone = list[Stale]()
    for folder in sorted({path.parents[1] for name in _MADE for path in root.glob(f"*/{name}")}):
        work = Work(root, folder.name)
        # A conversion straight from the Hub that was interrupted writes these two.
        written = (*folder.glob("*/*.json"), *work.stream.glob("arrived"), *work.stream.glob("journal"))
        last = max((path.stat().st_mtime for path in written), default=time.time())
        if time.time() - last < days * DAY:
            continue
        try:
            with work.lock():
                for stale in _stale(work):
                    console.say(f"{'would remove' if keep else 'removing'} {stale.path} ({size(stale.bytes)})")
                    if not keep:
                        _remove(stale.path)
                    gone.append(stale)
        except SurroundingsError as error:
            console.say(f"skipping {folder.name}: {error.message}")
    return gone


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)  # it follows no link, so the Hub's cache stays as it is
    else:
        path.unlink()


def _stale(work: Work) -> Iterator[Stale]:
    from mlx_publish.evidence.results import Converted
    from mlx_publish.hub.stream_folder import StreamFolder, taken

    for label in sorted(path.parent.name for path in work.folder.glob("*/convert.json")):
        report = work.report(label, "convert")
        converted = report.read(Converted) if report else None
        yield from _reported(work, label, converted.files if converted else ())
    if StreamFolder(work.stream).exists:
        yield Stale(work.stream, taken(work.stream))
    store = work.source / "reference"
    if (store / "passages.json").is_file():
        yield from (Stale(path, path.stat().st_size) for path in sorted(store.iterdir()) if _PIECE.fullmatch(path.name))


def _reported(work: Work, label: str, files: Sequence[FileDigest]) -> Iterator[Stale]:
    """Yield the weights of a variant that are the very ones that were reported."""
    paths = {file: work.model(label) / file.path for file in files if file.path.endswith(".safetensors")}
    there = {
        file.path: path
        for file, path in paths.items()
        if path.is_file() and not path.is_symlink() and path.stat().st_size == file.size
    }
    sha256 = {file.path: file.sha256 for file in work.digests_of(there)}
    yield from (Stale(path, file.size) for file, path in paths.items() if sha256.get(file.path) == file.sha256)


COMMAND = Command(
    "clean",
    "free disk space: remove weights unused for some days",
    35,
    add_arguments,
    run,
    inputs={"older_than": "keep_days", "dry_run": "", "cache": "", "recipes": "", "json": ""},
    group=Group.MACHINE,
    example="mlx-publish clean --dry-run\nmlx-publish clean --cache --older-than 30",
)
