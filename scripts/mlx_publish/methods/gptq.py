"""GPTQ: round column by column, and let the next columns make up for the error. Paper: arXiv 2210.17323."""

from __future__ import annotations

from mlx_publish.methods._learned import Keys, Learned


class Options(Keys):
    """Its keys of a variant."""


class Gptq(Learned):
    """`mlx_lm.quant.gptq`: linear layers and experts; what else can be quantized is rounded with `fallback_bits`."""

    name = "gptq"
    options = Options
    short_names = ("4bit-gptq",)
    widths = (2, 4, 8)


METHOD = Gptq()
