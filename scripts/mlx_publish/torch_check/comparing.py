"""How far the logits of two implementations of one model are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_publish.evidence.proof import LogitsComparison

_LEAST = 1e-30  # in the place of a spread of 0, where all tokens have the same logit


@dataclass
class Comparison:
    """Sums over positions.

    The normalised mean squared error is sum((a - b)^2) / sum((b - mean(b))^2), where b are the reference's logits and
    mean(b) is their mean over the vocabulary at the same position: 0 is equal, 1 is as far off as logits that know
    nothing. It does not depend on the scale of the logits, nor on the size of the vocabulary. Neither side is shifted
    to the other: a constant that is added to all logits is a deviation of the mapping too.
    """

    squares: float = 0.0
    spread: float = 0.0
    worst: float = 0.0
    same: int = 0
    positions: int = 0
    problem: str = ""
    """Why there is no number."""

    def add(self, logits: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
        """Take in logits (positions, vocabulary) of one sequence."""
        if logits.shape != reference.shape:
            what, axis = ("tokens", -1) if logits.shape[-1] != reference.shape[-1] else ("positions", 0)
            self.problem = (
                f"logits of {logits.shape[axis]} {what} in MLX and of {reference.shape[axis]} in the reference"
            )
            return
        if not (np.isfinite(logits).all() and np.isfinite(reference).all()):
            self.problem = "logits that are not numbers"
            return
        wide = reference.astype(np.float64)
        squares = np.square(logits - wide).sum(axis=-1)
        spread = np.square(wide - wide.mean(axis=-1, keepdims=True)).sum(axis=-1)
        self.squares += float(squares.sum())
        self.spread += float(spread.sum())
        self.worst = max(self.worst, float(np.max(squares / np.maximum(spread, _LEAST))))
        self.same += int((logits.argmax(axis=-1) == reference.argmax(axis=-1)).sum())
        self.positions += len(logits)

    def result(self) -> LogitsComparison:
        """Return the numbers of all sequences so far."""
        whole = not self.problem and self.positions > 0
        return LogitsComparison(
            positions=self.positions,
            nmse=self.squares / max(self.spread, _LEAST) if whole else None,
            worst_position=self.worst if whole else None,
            same_first_choice=self.same / self.positions if whole else None,
            problem=self.problem,
        )
