"""Rounding to nearest, at one width or by a mixed recipe of mlx-lm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from mlx_publish.methods._method import Form, Method, wrong_key
from mlx_publish.recipes.flags import Flag
from mlx_publish.recipes.sections import Strict

Bits = Literal[2, 3, 4, 5, 6, 8]
GroupSize = Literal[16, 32, 64, 128]
Mode = Literal["affine", "mxfp4", "mxfp8", "nvfp4"]
Mixed = Literal["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"]

# MLX has one bit width and one group size for each of these modes.
FIXED_MODES: Mapping[str, tuple[int, int]] = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
_MIXED_BITS = 6  # no mixed recipe has more
_SMALL_GROUP, _GROUP = 32, 64


class Options(Strict):
    """Its keys of a variant."""

    bits: Annotated[
        Bits | None,
        Flag(
            "N",
            "2, 3, 4, 5, 6 or 8 (default: 4)",
            input="Bits of a quantized weight, for one variant (default: 4)",
        ),
    ] = None
    """Bits per quantized weight. Default: 4."""
    group_size: Annotated[
        GroupSize | None,
        Flag("N", "32, 64 or 128 (default: 64)", input="Number of weights that share a scale (default: 64 for affine)"),
    ] = None
    """Number of weights that share a scale. Default: 64 for affine; fixed for the other modes."""
    mode: Annotated[
        Mode | None,
        Flag("M", "affine, mxfp4, mxfp8 or nvfp4 (default: affine)", input="affine, mxfp4, mxfp8 or nvfp4"),
    ] = None
    """Quantization mode. Default: affine."""
    mixed: Annotated[
        Mixed | None,
        Flag(
            "NAME",
            "mixed_2_6, mixed_3_4, mixed_3_6 or mixed_4_6",
            input="One of mlx-lm's mixed recipes, such as mixed_3_6",
        ),
    ] = None
    """One of mlx-lm's mixed recipes, which give sensitive layers more bits."""


class Rounding(Method):
    """Rounding to nearest: each group of weights by its own scale, without looking at what the model computes."""

    name = "rtn"
    options = Options
    short_names = ("4bit", ", ".join(FIXED_MODES), get_args(Mixed)[0])

    def claims(self, keys: Any) -> bool:
        """Return whether the keys ask for a width, a mode or a mixed recipe, or name rounding."""
        return super().claims(keys) or getattr(keys, "method", None) == self.name

    def read(self, short: str) -> dict[str, object] | None:
        """Return the keys of `4bit`, `mxfp4` or `mixed_3_6`."""
        if match := re.fullmatch(r"(\d)bit", short):
            return {"bits": int(match[1])}
        if short in get_args(Mixed):
            return {"mixed": short}
        return {"mode": short} if short in FIXED_MODES else None

    def judge(self, keys: Any) -> None:
        """Raise where a mode or a mixed recipe has other bits or groups than are asked for."""
        if getattr(keys, "learning", None):
            raise wrong_key("learning", "rounding learns nothing; add method: awq, dwq or gptq, or remove learning")
        fixed = FIXED_MODES.get(keys.mode or "affine")
        if keys.mixed and fixed:
            raise wrong_key("mode", f"the mixed recipes of mlx-lm are affine, not {keys.mode}")
        if keys.mixed and keys.bits:
            raise wrong_key("bits", f"{keys.mixed} chooses the bits itself; take bits or mixed, not both")
        if fixed and keys.bits not in (None, fixed[0]):
            raise wrong_key("bits", f"{keys.mode} has {fixed[0]} bits, not {keys.bits}")
        if fixed and keys.group_size not in (None, fixed[1]):
            raise wrong_key("group_size", f"{keys.mode} has a group size of {fixed[1]}, not {keys.group_size}")
        if not fixed and keys.group_size == 16:
            raise wrong_key("group_size", "affine takes a group size of 32, 64 or 128")
        if keys.dtype and keys.group_size and not (keys.bits or keys.mode or keys.mixed):
            raise wrong_key("group_size", "dtype alone leaves the model unquantized; add bits, mode or mixed")

    def form(self, keys: Any) -> Form:
        """Return it with 4 bits and groups of 64 where nothing else is asked for."""
        mode = keys.mode or "affine"
        bits, group_size = FIXED_MODES.get(mode, (keys.bits or 4, keys.group_size or _GROUP))
        return Form(True, None if keys.mixed else bits, group_size, mode, keys.mixed)

    def label(self, form: Form) -> str:
        """Return `4bit`, `mxfp4`, `mixed_3_6` or, for other groups than usual, `4bit-gs32`."""
        if form.mode and form.mode in FIXED_MODES:
            return form.mode
        group = "" if form.group_size == _GROUP else f"-gs{form.group_size}"
        return f"{form.mixed or f'{form.bits}bit'}{group}"

    def flags(self, form: Form) -> list[str]:
        """Return --bits and --group-size, or --mixed, or --mode, which has both."""
        if form.mixed:
            flags = ["--mixed", form.mixed]
        elif form.mode == "affine":
            flags = ["--bits", str(form.bits)]
        else:
            flags = ["--mode", form.mode or ""]
        return [*flags, "--group-size", str(form.group_size)] if form.mode == "affine" else flags

    def bits_per_weight(self, form: Form, wide: float) -> float:
        """Return the bits of a weight with its part of scale and bias: affine keeps both wide, the others one byte."""
        scales = 2 * wide if form.mode == "affine" else 8
        return (form.bits or _MIXED_BITS) + scales / (form.group_size or _GROUP)

    def better(self, form: Form) -> str:
        """Return the next wider ones."""
        widths: tuple[int, ...] = get_args(Bits)
        if form.mixed:
            fewest = int(form.mixed.split("_")[1])
            first, second, *_ = (bits for bits in widths if bits > max(fewest, 3))
            return f"Use more bits: {first}bit or {second}bit."
        wider = next((bits for bits in widths if bits > (form.bits or 0)), None)
        ways = [f"more bits ({wider}bit)"] if wider else ["an unquantized variant (bf16)"]
        if form.mode == "affine" and (form.group_size or 0) > _SMALL_GROUP:
            ways.append(f"a smaller group (group_size: {_SMALL_GROUP})")
        if form.mode == "affine" and wider and (form.bits or 0) < 4:
            ways.append("a mixed recipe (mixed_3_6)")
        return f"Use {' or '.join(ways)}."


METHOD = Rounding()
