"""Folders that nobody else can change. Environments are kept there, since their programs run with the job's tokens.

As sshd asks of the home of a user (StrictModes): every folder from / down belongs to us or to root, and nobody else may
write in it. A folder with the sticky bit, as /tmp, may be on the way, since there nobody renames or removes what is
ours. What is missing is made with mode 700: mkdir fails where something is there already, so nothing can be put in its
place before. After that, neither a link nor a folder on the way can be exchanged by anybody but us and root.

bootstrap.sh starts this file, the noxfile and torch_environment import it; it needs the standard library alone.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CACHE = "MLX_PUBLISH_CACHE"
MARKER = ".complete"
_ACL = "system.posix_acl_access"
_MOST_LINKS = 40


class Unfit(Exception):
    """A folder that somebody else could change, or that we cannot use; says why and what to do."""


@dataclass(frozen=True)
class Way:
    """Where a path really leads, and the first step on the way that somebody else could change; empty where none is."""

    end: Path
    problem: str = ""


def way_to(path: Path) -> Way:
    """Follow a path from / step by step, links too; what does not exist yet cannot be wrong."""
    here, links = Path("/"), 0
    ahead = _steps(path if path.is_absolute() else Path.cwd() / path)
    problem = _problem(here, here.lstat())
    while ahead and not problem:
        name = ahead.pop()
        if name == "..":
            here = here.parent
            continue
        there = here / name
        try:
            seen = there.lstat()
        except FileNotFoundError:
            here = there
            continue
        except OSError as error:
            return Way(there, f"{_shown(there)} cannot be looked at: {error.strerror}")
        if not stat.S_ISLNK(seen.st_mode):
            here, problem = there, _problem(there, seen)
        elif not _is_trusted(seen):
            return Way(there, f"the link {_shown(there)} belongs to {_owner(seen)}")
        else:
            links += 1
            if links > _MOST_LINKS:
                return Way(there, f"{_shown(there)} is a link that leads in a circle")
            target = there.readlink()
            here = Path("/") if target.is_absolute() else here
            ahead += _steps(target)
    return Way(here, problem)


def check(path: Path) -> Path:
    """Return where a folder really lies, or would; raises Unfit where somebody else could change what is in it."""
    way = way_to(path)
    problem = way.problem
    if not problem and way.end.is_dir():
        # Below a folder like /tmp ours would be safe, but the names in it can be taken by others.
        seen = os.lstat(way.end)
        problem = _problem(way.end, seen, sticky_helps=False) if _is_owner(seen) else _foreign(way.end, seen)
    if problem:
        raise Unfit(problem)
    return way.end


def make(path: Path) -> Path:
    """Make a folder for us alone where it is missing; returns where it really lies."""
    end = check(path)
    try:
        for folder in reversed((end, *end.parents)):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)  # by another process of ours; looked at below
    except OSError as error:
        raise Unfit(f"{_shown(end)} cannot be made: {error.strerror}") from None
    end = check(end)
    if not os.access(end, os.W_OK | os.X_OK):
        raise Unfit(f"cannot write in {_shown(end)}")
    return end


def make_empty(folder: Path) -> None:
    """Make an environment's folder anew, for us alone; fails where something else is there in the meantime."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


@dataclass(frozen=True)
class Kept:
    """The folder in which an environment is kept, whether it is whole, and why it is in none of the places before."""

    folder: Path
    ready: bool
    refused: tuple[str, ...] = ()


def choose(places: Iterable[Path], name: str) -> Kept:
    """Return the first of some places in which an environment of this name can be kept.

    One that is whole is enough where we may not write: an image may bring it, made by root.
    """

    def take(place: Path) -> tuple[Path, bool]:
        end = check(place)
        ready = is_ready(end / name)
        return (end if ready else make(place)), ready

    (folder, ready), refused = _first(places, take)
    return Kept(folder, ready, refused)


def first(places: Iterable[Path]) -> Path:
    """Return the first of some places that nobody else can change, and make nothing."""
    return _first(places, check)[0]


def _first(places: Iterable[Path], take: Callable[[Path], T]) -> tuple[T, tuple[str, ...]]:
    refused: list[str] = []
    for place in places:
        try:
            return take(place), tuple(refused)
        except Unfit as unfit:
            refused.append(f"not in {_shown(place)}: {unfit}")
    raise Unfit("; ".join(refused))


def places(root: Path, *, of_the_checkout_first: bool = False) -> list[Path]:
    """Return where environments may be kept: where the user says and nowhere else, or the usual places in turn."""
    if named := os.environ.get(CACHE):
        return [Path(named)]
    tools, home = os.environ.get("RUNNER_TOOL_CACHE"), os.environ.get("HOME")
    usual = os.environ.get("XDG_CACHE_HOME") or (home and f"{home}/.cache")
    # Last our home by the list of users, for sudo without -H and containers whose HOME belongs to the host's user.
    before = [] if of_the_checkout_first else [tools, usual]
    after = [usual, _home()] if of_the_checkout_first else [_home()]
    ours = [[Path(place) / "mlx-publish" for place in some if place] for some in (before, after)]
    return list(dict.fromkeys([*ours[0], root / ".nox", *ours[1]]))


def remedy(refused: str) -> str:
    """Return what to say where no place is left."""
    return (
        f"no folder is safe for the environments of Python, {refused}\n"
        f"What runs there gets your tokens. Set {CACHE} to a folder that you own and nobody else can write to,\n"
        "nor to those above it (mktemp -d makes one); or take that right from others: chmod go-w FOLDER; under sudo: -H"
    )


def is_ready(environment: Path, *, deep: bool = True) -> bool:
    """Whether a whole environment lies there in which everything belongs to us or to root."""
    return is_whole(environment, deep=deep) and os.access(environment / "bin" / "python", os.X_OK)


def is_whole(folder: Path, *, deep: bool = True) -> bool:
    """Whether a folder was made to its end, and everything in it belongs to us or to root."""
    try:
        marker, top = (folder / MARKER).lstat(), folder.lstat()
        # What only we can enter is safe from a group that its files may be open to, as they are under umask 002.
        open_to_others = stat.S_IWGRP | stat.S_IWOTH if top.st_mode & 0o077 else 0
        entries = (top, *_entries(str(folder), levels=99 if deep else 4))
        return (
            stat.S_ISREG(marker.st_mode)
            and stat.S_ISDIR(top.st_mode)
            and all(_is_owner(seen) and not (open_to_others and _is_open(seen, open_to_others)) for seen in entries)
        )
    except OSError:
        return False


def _is_open(seen: os.stat_result, rights: int) -> bool:
    return not stat.S_ISLNK(seen.st_mode) and bool(seen.st_mode & rights)


def _entries(folder: str, levels: int) -> Iterator[os.stat_result]:
    """Yield what lies in a folder and below. Four levels reach each package's name: what Python reads as it starts."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.stat(follow_symlinks=False)
            if levels > 1 and entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path, levels - 1)


def _steps(path: Path) -> list[str]:
    return [step for step in reversed(str(path).split("/")) if step not in {"", "."}]


def _shown(path: Path) -> str:
    """Return a path as text in which line breaks and the like are visible."""
    return repr(str(path))


def _problem(there: Path, seen: os.stat_result, *, sticky_helps: bool = True) -> str:
    mode = f"{stat.S_IMODE(seen.st_mode):03o}"
    if not stat.S_ISDIR(seen.st_mode):
        return f"{_shown(there)} is no folder and belongs to {_owner(seen)}"
    if not _is_trusted(seen):
        return _foreign(there, seen)
    if sticky_helps and seen.st_mode & stat.S_ISVTX:
        return ""
    if seen.st_mode & stat.S_IWOTH:
        return f"{_shown(there)} (owner {_owner(seen)}, mode {mode}) may be written by everybody"
    if seen.st_mode & stat.S_IWGRP and not _is_ours_alone(there, seen.st_gid):
        return f"{_shown(there)} (owner {_owner(seen)}, mode {mode}) may be written by the group {_group(seen.st_gid)}"
    return ""


def _foreign(there: Path, seen: os.stat_result) -> str:
    return f"{_shown(there)} (mode {stat.S_IMODE(seen.st_mode):03o}) belongs to {_owner(seen)}"


def _is_owner(seen: os.stat_result) -> bool:
    return seen.st_uid in (0, os.geteuid())


def _is_trusted(seen: os.stat_result) -> bool:
    return _is_owner(seen) or seen.st_uid == _root_from_outside()


def _root_from_outside() -> int:
    """Return the number under which root's folders appear in a sandbox that does not know root; -1 elsewhere."""
    try:
        ranges = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
        knows_root = any(int(outside) == 0 for _, outside, _ in ranges)
        return -1 if knows_root else int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return -1


def _is_ours_alone(there: Path, number: int) -> bool:
    """Whether a group is the user's own, as Debian and Fedora give each one: it has their name and nobody else in it.

    Its right to write is then nobody else's. With an access list the bit of the group stands for others as well.
    """
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
        lists = os.listxattr(there) if hasattr(os, "listxattr") else []
    except (KeyError, OSError):
        return False
    if user.pw_gid != number or group.gr_name != user.pw_name or _ACL in lists:
        return False
    members = {one.pw_name for one in pwd.getpwall() if one.pw_gid == number} | set(group.gr_mem)
    return members <= {user.pw_name}


def _owner(seen: os.stat_result) -> str:
    return _name_of_user(seen.st_uid) or f"the user {seen.st_uid}"


def _name_of_user(number: int) -> str:

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return ""


def _home() -> str:
    """Return our home's cache by the list of users, whatever HOME says."""

    try:
        return f"{pwd.getpwuid(os.geteuid()).pw_dir}/.cache"
    except KeyError:
        return ""


def _group(number: int) -> str:

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def main(root: str, name: str) -> int:
    """Tell bootstrap.sh whether the environment is ready and in which folder; what is wrong is told by exit code 4."""
    try:
        kept = choose(places(Path(root)), name)
    except Unfit as unfit:
        print(remedy(str(unfit)))
        return 4
    for reason in kept.refused:
        print(f"bootstrap: the environments are {reason}", file=sys.stderr)
    print("ready" if kept.ready else "absent", kept.folder, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
