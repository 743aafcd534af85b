"""New files in a folder: all of them or none, and never over one that exists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from mlx_publish.errors import BadInput, Fault, Place, of_the_disk
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
    _judge(_in_the_way(root, texts), remedy)
    unchanged = tuple(root / name for name, text in texts.items() if _is(root / name, text))
    wanted = [root / name for name in texts if root / name not in unchanged]
    different = [path for path in wanted if path.exists() or path.is_symlink()]
    _judge([Fault("exists with other content; nothing was written", Place(str(path))) for path in different], remedy)
    folders = _missing_folders(wanted)
    done = list[Path]()
    try:
        for path in wanted:
            _write(path, texts[path.relative_to(root).as_posix()])
            done.append(path)
        yield Placed(tuple(wanted), unchanged)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        for folder in folders:
            with suppress(OSError):  # something else is in it by now
                folder.rmdir()
        raise


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:  # as of a folder that nobody can make
        raise of_the_disk(error) from error


def _is(path: Path, text: str) -> bool:
    """Tell whether a file has this content; what is no file, as a pipe or a device, is not read."""
    content = text.encode()
    try:
        there = path.stat()
        return S_ISREG(there.st_mode) and there.st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _in_the_way(root: Path, names: Iterable[str]) -> list[Fault]:
    """Return what is no folder, but would have to be one; a link below `root` would lead files out of it."""
    folders = dict.fromkeys(folder for name in names for folder in (root / name).parents)
    linked = [folder for folder in folders if root in folder.parents and folder.is_symlink()]
    files = [folder for folder in folders if folder not in linked and folder.exists() and not folder.is_dir()]
    return [
        Fault(f"is a {kind}, not a folder; nothing was written", Place(str(path)))
        for kind, paths in (("link", linked), ("file", files))
        for path in paths
    ]


def _judge(faults: list[Fault], remedy: str) -> None:
    if faults:
        first, *others = faults
        raise BadInput(first.message, place=first.place, remedy=remedy, others=others)


def _missing_folders(paths: list[Path]) -> list[Path]:
    """Return the folders that writing makes, the deepest first."""
    missing = {folder for path in paths for folder in path.parents if not folder.exists()}
    return sorted(missing, key=lambda folder: -len(folder.parts))
