"""Folders that nobody else can change. Environments are kept there, since their programs run with the job's tokens.

As sshd asks of the home of a user (StrictModes): every folder from / down belongs to us or to root, and nobody else may
write in it. A folder with the sticky bit, as /tmp, may be on the way, since there nobody renames or removes what is
ours. What is missing is made with mode 700: mkdir fails where something is there already, so nothing can be put in its
place before. After that, neither a link nor a folder on the way can be exchanged by anybody but us and root.

bootstrap.sh starts this file at each call, the noxfile and torch_environment import it. So it imports only what Python
has loaded anyway: pathlib and dataclasses alone would take longer than all that is looked at.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys

CACHE = "MLX_PUBLISH_CACHE"
MARKER = ".complete"
_ACL = "system.posix_acl_access"
_MOST_LINKS = 40
# Below an environment these reach each package's name, and so all that Python reads as it starts.
_SHALLOW, _DEEP = 4, 99


class Unfit(Exception):
    """A folder that somebody else could change, or that we cannot use; says why."""


def way_to(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Follow a path from / step by step, links too.

    Returns where it leads, and what is wrong with the first step that somebody else could change; empty where all is
    well. What does not exist yet cannot be wrong.
    """
    here, links = "/", 0
    ahead = _steps(path if os.path.isabs(path) else os.path.join(os.getcwd(), path))
    problem = _problem(here, os.lstat(here))
    while ahead and not problem:
        name = ahead.pop()
        if name == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, name)
        try:
            status = os.lstat(there)
        except FileNotFoundError:
            here = there
            continue
        except OSError as error:
            return there, f"{there!r} cannot be inspected: {error.strerror}"
        if not stat.S_ISLNK(status.st_mode):
            here, problem = there, _problem(there, status)
        elif not _is_trusted(status):
            problem = f"the link {there!r} belongs to {_owner(status)}"
        elif links == _MOST_LINKS:
            problem = f"{there!r} is a circular link"
        else:
            links += 1
            target = os.readlink(there)
            here = "/" if target.startswith("/") else here
            ahead += _steps(target)
    return here, problem


def check(path: str | os.PathLike[str]) -> str:
    """Return where a folder really lies, or would; raises Unfit where somebody else could change what is in it."""
    end, problem = way_to(path)
    if not problem and os.path.isdir(end):
        # Below a folder like /tmp ours would be safe, but the names in it can be taken by others.
        status = os.lstat(end)
        problem = _problem(end, status, sticky_helps=False) if _is_owner(status) else _foreign(end, status)
    if problem:
        raise Unfit(problem)
    return end


def make(path: str | os.PathLike[str]) -> str:
    """Make a folder for us alone where it is missing; return where it really lies."""
    end = check(path)
    steps = end.split("/")
    try:
        for folder in ("/".join(steps[:count]) for count in range(2, len(steps) + 1)):
            if not os.path.isdir(folder):
                try:
                    os.mkdir(folder, 0o700)
                except FileExistsError:
                    pass  # by another process of ours, or of somebody else: all is looked at again
    except OSError as error:
        raise Unfit(f"{end!r} cannot be created: {error.strerror}") from None
    end = check(end)
    if not os.access(end, os.W_OK | os.X_OK):
        raise Unfit(f"cannot write in {end!r}")
    return end


def make_empty(folder: str | os.PathLike[str]) -> None:
    """Recreate an environment's folder for this user only; fails if something else appears there meanwhile."""
    import shutil

    if os.path.islink(folder) or os.path.isfile(folder):
        os.unlink(folder)
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder, 0o700)


def choose(places: list[str], name: str, *, deep: bool = True) -> tuple[str, bool, list[str]]:
    """Return the first of some places in which an environment of this name can be kept.

    Returns the place, whether the environment is ready there, and why it is in none of the places before. One that is
    ready is enough where we may not write: an image may bring it, made by root.
    """
    refused: list[str] = []
    for place in places:
        try:
            end = check(place)
            ready = is_ready(os.path.join(end, name), deep=deep)
            return end if ready else make(place), ready, refused
        except Unfit as unfit:
            refused.append(f"not in {place!r}: {unfit}")
    raise Unfit("; ".join(refused))


def first(places: list[str]) -> str:
    """Return the first of some places that nobody else can change, and make nothing."""
    refused: list[str] = []
    for place in places:
        try:
            return check(place)
        except Unfit as unfit:
            refused.append(f"not in {place!r}: {unfit}")
    raise Unfit("; ".join(refused))


def places(root: str | os.PathLike[str], *, of_the_checkout_first: bool = False) -> list[str]:
    """Return where environments may be kept: where the user says and nowhere else, or the usual places in turn."""
    if named := os.environ.get(CACHE):
        return [named]
    home = os.environ.get("HOME")
    usual = os.environ.get("XDG_CACHE_HOME") or (home and f"{home}/.cache")
    before = [] if of_the_checkout_first else [os.environ.get("RUNNER_TOOL_CACHE"), usual]
    # Last our home by the list of users, for sudo without -H and containers whose HOME belongs to the host's user.
    after = [usual, _home()] if of_the_checkout_first else [_home()]
    ours = [[f"{place}/mlx-publish" for place in some if place] for some in (before, after)]
    return list(dict.fromkeys([*ours[0], os.path.join(root, ".nox"), *ours[1]]))


def remedy(refused: str) -> str:
    """Return what to say where no place is left."""
    return (
        f"no safe folder for the Python environments, {refused}\n"
        f"Code in these environments can read your tokens. Set {CACHE} to a folder that, like those above it,\n"
        "only you can write to (such as one from mktemp -d), or run: chmod go-w FOLDER; under sudo, add -H"
    )


def is_ready(environment: str | os.PathLike[str], *, deep: bool = True) -> bool:
    """Return whether a whole environment lies there in which everything belongs to us or to root."""
    return is_whole(environment, deep=deep) and os.access(os.path.join(environment, "bin", "python"), os.X_OK)


def is_whole(folder: str | os.PathLike[str], *, deep: bool = True) -> bool:
    """Return whether a folder was made to its end, and everything in it belongs to us or to root.

    Not deep, only the upper levels are looked at. Below a folder that nobody else can enter that is enough.
    """
    try:
        marker, top = os.lstat(os.path.join(folder, MARKER)), os.lstat(folder)
        # What only we can enter is safe from a group that its files may be open to, as they are under umask 002.
        rights = stat.S_IWGRP | stat.S_IWOTH if top.st_mode & 0o077 else 0
        trusted = (0, os.geteuid())
        return (
            stat.S_ISREG(marker.st_mode)
            and stat.S_ISDIR(top.st_mode)
            and top.st_uid in trusted
            and not top.st_mode & rights
            and _all_ours(os.fspath(folder), trusted, rights, _DEEP if deep or rights else _SHALLOW)
        )
    except OSError:
        return False


def _all_ours(folder: str, trusted: tuple[int, ...], rights: int, levels: int) -> bool:
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if status.st_uid not in trusted or (status.st_mode & rights and not entry.is_symlink()):
                return False
            if levels > 1 and stat.S_ISDIR(status.st_mode) and not _all_ours(entry.path, trusted, rights, levels - 1):
                return False
    return True


def _steps(path: str | os.PathLike[str]) -> list[str]:
    return [step for step in reversed(os.fspath(path).split("/")) if step not in {"", "."}]


def _problem(there: str, status: os.stat_result, *, sticky_helps: bool = True) -> str:
    if not stat.S_ISDIR(status.st_mode):
        return f"{there!r} is not a folder and belongs to {_owner(status)}"
    if not _is_trusted(status):
        return _foreign(there, status)
    if sticky_helps and status.st_mode & stat.S_ISVTX:
        return ""
    writable = f"{there!r} (owner {_owner(status)}, mode {_mode(status)}) is writable by"
    if status.st_mode & stat.S_IWOTH:
        return f"{writable} everybody"
    if status.st_mode & stat.S_IWGRP and not _is_ours_alone(there, status.st_gid):
        return f"{writable} the group {_group(status.st_gid)}"
    return ""


def _foreign(there: str, status: os.stat_result) -> str:
    return f"{there!r} (mode {_mode(status)}) belongs to {_owner(status)}"


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):03o}"


def _is_owner(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid())


def _is_trusted(status: os.stat_result) -> bool:
    return _is_owner(status) or status.st_uid == _root_from_outside()


def _root_from_outside() -> int:
    """Return the number under which root's folders appear in a sandbox that does not know root; -1 elsewhere."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as ranges:
            knows_root = any(int(line.split()[1]) == 0 for line in ranges)
        with open("/proc/sys/kernel/overflowuid", encoding="ascii") as number:
            return -1 if knows_root else int(number.read())
    except (OSError, ValueError, IndexError):
        return -1


def _is_ours_alone(there: str, number: int) -> bool:
    """Return whether a group is the user's own, as Debian and Fedora give each one: their name, and nobody else in it.

    Its right to write is then nobody else's. With an access list the bit of the group stands for others as well.
    """
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
        lists = os.listxattr(there) if hasattr(os, "listxattr") else []
    except (KeyError, OSError):
        return False
    if user.pw_gid != number or group.gr_name != user.pw_name or _ACL in lists:
        return False
    members = {entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == number} | set(group.gr_mem)
    return members <= {user.pw_name}


def _owner(status: os.stat_result) -> str:
    return _name_of_user(status.st_uid) or f"the user {status.st_uid}"


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


def main(root: str, name: str, quietly: str = "") -> int:
    """Tell bootstrap.sh whether the environment is ready and in which folder; return 4 where no place is safe."""
    try:
        folder, ready, refused = choose(places(root), name)
    except Unfit as unfit:
        print(remedy(str(unfit)))
        return 4
    for reason in () if quietly else refused:
        print(f"bootstrap: the environments are {reason}", file=sys.stderr)
    print("ready" if ready else "absent", folder, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
