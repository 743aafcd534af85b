"""How much flows through each column of a weight, as coarse steps that a plan file can hold.

A step is a factor of two: what is rounded to steps is the same on all machines but for the rare sum that lies between
two. Once it stands in a plan, the weights that follow from it are exact (`weighted.weights_of`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx_publish.engine.weighted import STEPS


def characters(values: Any) -> str:
    """Return a character of `STEPS` for each value (columns,): its binary logarithm, rounded, above that of the least.

    Zeros count as the least; the largest ones keep their distance where there are more steps than characters.
    """
    squares = np.asarray(values, np.float64)
    positive = squares > 0
    if not positive.any():
        return STEPS[0] * len(squares)
    steps = np.rint(np.log2(np.where(positive, squares, squares[positive].min()))).astype(np.int64)
    above = np.clip(steps - max(steps.min(), steps.max() - len(STEPS) + 1), 0, None)
    return "".join(STEPS[step] for step in above)
