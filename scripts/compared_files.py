"""The files of a model that was converted twice, by SHA-256; weights that differ are named tensor by tensor."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from mlx_publish.verify.published import CARD, CHART, EVIDENCE
from tensor_file import read_tensors

NOT_CONVERTED = frozenset({CARD, CHART, EVIDENCE})
"""Files that are published beside the converted ones."""


@dataclass(frozen=True)
class Compared:
    """The files of one variant on both machines."""

    source: str
    variant: str
    files: int
    size: int
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether no byte differs."""
        return not self.differences

    def __str__(self) -> str:
        """Say it in one line of the table."""
        result = "equal" if self.equal else f"DIFFERENT: {', '.join(self.differences)}"
        return f"{self.source:20} {self.variant:10} {self.files:5} {self.size:>10,}  {result}"


def compare(source: str, variant: str, ours: Path, theirs: Path) -> Compared:
    """Compare two folders of a model, without what is made from measurements."""
    mine, other = files_of(ours), files_of(theirs)
    differences = []
    for name in sorted(mine.keys() | other.keys()):
        if name not in mine or name not in other:
            differences.append(f"{name} is missing on one side")
        elif digest(mine[name]) != digest(other[name]):
            differences.append(" ".join([name, *different_tensors(mine[name], other[name])]))
    return Compared(source, variant, len(mine), sum(path.stat().st_size for path in mine.values()), tuple(differences))


def files_of(model: Path) -> dict[str, Path]:
    """Return the files of a model by name, without card, chart and evidence."""
    found = {str(path.relative_to(model)): path for path in model.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if name not in NOT_CONVERTED}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def different_tensors(ours: Path, theirs: Path) -> list[str]:
    """Name the tensors of two files of weights whose bytes differ, and how many values of each do."""
    if ours.suffix != ".safetensors":
        return []
    mine, other = read_tensors(ours), read_tensors(theirs)
    named = []
    for name in sorted(mine.keys() & other.keys()):
        if mine[name].dtype != other[name].dtype or mine[name].shape != other[name].shape:
            named.append(f"{name} (other type or shape)")
        elif count := int((mine[name].view(np.uint8) != other[name].view(np.uint8)).sum()):
            named.append(f"{name} ({count:,} of {mine[name].nbytes:,} bytes)")
    return named
