"""Names of a twin's tensors: those of the source, where transformers saves them under others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def name_as(names: Sequence[str], folder: Path) -> None:
    """Rename the tensors in the files of `folder` as `renamed` says."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    for path in folder.glob("*.safetensors"):
        tensors = load_file(str(path))
        if changed := renamed(tensors, names):
            save_file({changed.get(name, name): value for name, value in tensors.items()}, str(path), {"format": "pt"})


def renamed(own: Iterable[str], names: Sequence[str]) -> Mapping[str, str]:
    """Return the source's name of every tensor that has another one: more or fewer parts between, in the same order.

    A name stays where several would do. Layers that were cut lie in the source too, so that each has its counterpart.
    """
    known, changed = set(names), dict[str, str]()
    by_ends: dict[str, list[tuple[str, ...]]] = {}
    for name in names:
        parts = tuple(name.split("."))
        by_ends.setdefault(_ends(parts), []).append(parts)
    own = list(own)
    taken = known & set(own)
    for name in own:
        parts = tuple(name.split("."))
        if name in known:
            continue
        near = [
            other for other in by_ends.get(_ends(parts), ()) if ".".join(other) not in taken and _within(parts, other)
        ]
        if near and sum(len(other) == min(map(len, near)) for other in near) == 1:
            changed[name] = ".".join(next(other for other in near if len(other) == min(map(len, near))))
    return changed if len(set(changed.values())) == len(changed) else {}


def _ends(parts: Sequence[str]) -> str:
    return ".".join(parts[-2:])


def _within(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether the parts of one name are among those of the other, in the same order."""
    short, long = sorted((one, other), key=len)
    rest = iter(long)
    return all(part in rest for part in short)
