"""Tiny models that see: made once a session in the Python with torch, and what both sides compute of pictures.

`vision_families` has the families. `NAME` is spelled as the family's repositories on the Hub, `NAME.saved` as
transformers 5 saves it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TESTS = Path(__file__).parent
SECONDS = 600
Logits = Mapping[str, NDArray[np.float32]]


def make(python: Path, folder: Path, *names: str) -> Path:
    """Make the models `names` (all families if none is named) in `folder`, with a Python that has torch."""
    folder.mkdir(parents=True, exist_ok=True)
    _run(python, "vision_making.py", folder, *(name.replace(".", ":") for name in names))
    return folder


@dataclass(frozen=True)
class Compared:
    """What mlx-vlm and transformers compute of the same models and pictures."""

    folder: Path
    failed: Mapping[str, str]
    """What mlx-vlm raised, by the name of the model."""

    def apart(self, name: str) -> dict[str, float]:
        """How far the logits are apart at most, as a part of their range, by case: text, one, two pictures."""
        ours, theirs = self._logits(name, "mlx"), self._logits(name, "torch")
        return {case: _apart(ours[case], theirs[case]) for case in theirs}

    def by_position(self, name: str, case: str) -> NDArray[np.float64]:
        """The same for each position."""
        ours, theirs = self._logits(name, "mlx")[case], self._logits(name, "torch")[case]
        apart: NDArray[np.float64] = np.abs(ours - theirs).max(-1) / np.ptp(theirs)
        return apart

    def _logits(self, name: str, side: str) -> Logits:
        with np.load(self.folder / f"{name}.{side}.npz") as file:
            return {case: file[case] for case in file.files}


def compare(torch_python: Path, vision_python: Path, folder: Path, names: Iterable[str]) -> Compared:
    """Compute the logits of the models `names` in `folder` on both sides."""
    sources = [folder / name for name in names]
    failed = json.loads(_run(vision_python, "vision_reading.py", *sources).splitlines()[-1])
    _run(torch_python, "vision_reference.py", *(one for one in sources if one.name not in failed))
    return Compared(folder, failed)


def _apart(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.abs(ours - theirs).max() / np.ptp(theirs)) if ours.shape == theirs.shape else float("inf")


def _run(python: Path, script: str, *words: str | Path) -> str:
    """Run a script of tests/ in another Python; raises with its last words."""
    environment = {
        key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG", "LD_PRELOAD") if key in os.environ
    }
    environment |= {"PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), str(TESTS / script), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
