"""AWQ: scale the columns that carry most, and clip, before rounding. Paper: https://arxiv.org/abs/2306.00978."""

from __future__ import annotations

from typing import get_args

from mlx_publish.methods import rtn
from mlx_publish.methods._learned import Keys, Learned


class Options(Keys):
    """Its keys of a variant."""


class Awq(Learned):
    """`mlx_lm.quant.awq`: scales and clips block by block, for the model types that it knows."""

    name = "awq"
    options = Options
    short_names = ("4bit-awq",)
    widths = get_args(rtn.Bits)


METHOD = Awq()
