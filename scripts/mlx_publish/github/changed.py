"""The files that a branch changes, as git lists them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlx_publish.errors import BadInput
from mlx_publish.github.programs import git_outcome
from mlx_publish.github.remote import REMOTE, known_remote

_LINK = "120000"
_MODULE = "160000"


@dataclass(frozen=True)
class Changed:
    """One file that a branch adds, changes or removes."""

    path: PurePosixPath
    removed: bool
    plain: bool
    """False for a link or another repo in the file's place."""
    link: bool = False


def changed_files(root: Path, base: str) -> list[Changed]:
    """Return the files in which HEAD differs from where it left `base`, a commit or a branch.

    Raises `BadInput` where git knows no such base.
    """
    raw = _git(root, base, "diff", "--raw", "-z", "--no-renames", "--no-abbrev", "--merge-base", base, "HEAD", "--")
    words = [word for word in raw.split("\0") if word]
    files = []
    for head, name in zip(words[::2], words[1::2], strict=True):
        mode, status = head.split()[1], head.split()[4]
        files.append(Changed(PurePosixPath(name), status == "D", mode not in (_LINK, _MODULE), mode == _LINK))
    return files


def _git(root: Path, base: str, *words: str) -> str:
    # A base that begins with a hyphen would be an option.
    asked = words if not base.startswith("-") else ("rev-parse", "--verify", "--end-of-options", base)
    outcome = git_outcome(root, *asked)
    if outcome.code:
        complaint = outcome.err.strip().splitlines()[:1] or ["no message"]
        near = sorted(known_remote(root).branches)[:10]
        raise BadInput(
            f"git cannot compare with it: {complaint[0]}",
            place=f"--base {base}",
            remedy=(
                f"Name a commit or a branch{f', such as {REMOTE}/{near[0]}' if near else ''}. "
                "In a workflow, check out the whole history (fetch-depth: 0)."
            ),
        )
    return outcome.raw.decode("utf-8", "surrogateescape")  # names need not be text
