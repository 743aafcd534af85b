"""New files in a folder: all of them or none, and never over one that exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.errors import BadInput, Fault, Place
from mlx_publish.text.files import write_atomically


@dataclass(frozen=True)
class Placed:
    """Which files were written, and which were there already with the same content."""

    written: tuple[Path, ...]
    unchanged: tuple[Path, ...]


@contextmanager
def placing(root: Path, texts: Mapping[str, str], remedy: str) -> Iterator[Placed]:
    """Write files below `root`; where the block fails, take them and their new folders away again.

    Raises `BadInput` naming each file that exists with other content, before anything is written.
    """
    unchanged = tuple(root / name for name, text in texts.items() if _is(root / name, text))
    wanted = [root / name for name in texts if root / name not in unchanged]
    _judge([path for path in wanted if path.exists() or path.is_symlink()], remedy)
    folders = _missing_folders(wanted)
    done = list[Path]()
    try:
        for path in wanted:
            write_atomically(path, texts[path.relative_to(root).as_posix()])
            done.append(path)
        yield Placed(tuple(wanted), unchanged)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        for folder in folders:
            with suppress(OSError):  # something else is in it by now
                folder.rmdir()
        raise


def _is(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _judge(there: list[Path], remedy: str) -> None:
    if not there:
        return
    first, *others = (Fault("exists with other content; nothing was written", Place(str(path))) for path in there)
    raise BadInput(first.message, place=first.place, remedy=remedy, others=others)


def _missing_folders(paths: list[Path]) -> list[Path]:
    """Return the folders that writing makes, the deepest first."""
    missing = {folder for path in paths for folder in path.parents if not folder.exists()}
    return sorted(missing, key=lambda folder: -len(folder.parts))
