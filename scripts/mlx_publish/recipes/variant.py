"""A variant: one form of the model, as written, by its short name, and with its defaults filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from mlx_publish.recipes import patterns
from mlx_publish.recipes.flags import Flag
from mlx_publish.recipes.sections import Strict

Bits = Literal[2, 3, 4, 5, 6, 8]
GroupSize = Literal[16, 32, 64, 128]
Mode = Literal["affine", "mxfp4", "mxfp8", "nvfp4"]
Mixed = Literal["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"]
Dtype = Literal["bfloat16", "float16", "float32"]

# MLX has one bit width and one group size for each of these modes.
FIXED_MODES: Mapping[str, tuple[int, int]] = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
DTYPE_NAMES: Mapping[str, str] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def wrong_key(key: str, message: str) -> PydanticCustomError:
    """Return an error at `key` of the mapping being validated; `recipes.read` looks its line up."""
    return PydanticCustomError("variant", "{reason}", {"reason": message, "key": key})


class Variant(Strict):
    """One form of the model: how many bits, in which mode, or unquantized in a dtype."""

    name: str | None = Field(None, pattern=patterns.NAME, max_length=64)
    """Names the variant in the work folder and in `{variant}`; made from the other keys where absent."""
    bits: Annotated[
        Bits | None,
        Flag(
            "N",
            "2, 3, 4, 5, 6 or 8 (default: 4)",
            input="Bits of a quantized weight, for one variant (4 where nothing is said)",
        ),
    ] = None
    """Bits of a quantized weight. 4 where nothing else is said."""
    group_size: Annotated[
        GroupSize | None,
        Flag("N", "32, 64 or 128 (default: 64)", input="Weights that share one scale (64 for affine)"),
    ] = None
    """Weights that share one scale. 64 for affine; the other modes have one each."""
    mode: Annotated[
        Mode | None,
        Flag("M", "affine, mxfp4, mxfp8 or nvfp4 (default: affine)", input="affine, mxfp4, mxfp8 or nvfp4"),
    ] = None
    """How weights are quantized. affine where nothing else is said."""
    mixed: Annotated[
        Mixed | None,
        Flag("NAME", "mixed_2_6, mixed_3_4, mixed_3_6 or mixed_4_6", input="A mixed recipe of mlx-lm, as mixed_3_6"),
    ] = None
    """One of mlx-lm's mixed recipes, which give the more sensitive layers more bits."""
    dtype: Annotated[
        Dtype | None,
        Flag(
            "D",
            "bfloat16, float16 or float32; alone: unquantized",
            input="bfloat16, float16 or float32; alone it makes an unquantized variant",
        ),
    ] = None
    """Type of what is not quantized; alone, it makes an unquantized variant."""

    @model_validator(mode="after")
    def _options_fit(self) -> Variant:
        fixed = FIXED_MODES.get(self.mode or "affine")
        if self.mixed and fixed:
            raise wrong_key("mode", f"the mixed recipes of mlx-lm are affine, not {self.mode}")
        if self.mixed and self.bits:
            raise wrong_key("bits", f"{self.mixed} chooses the bits itself; take bits or mixed, not both")
        if fixed and self.bits not in (None, fixed[0]):
            raise wrong_key("bits", f"{self.mode} has {fixed[0]} bits, not {self.bits}")
        if fixed and self.group_size not in (None, fixed[1]):
            raise wrong_key("group_size", f"{self.mode} has a group size of {fixed[1]}, not {self.group_size}")
        if not fixed and self.group_size == 16:
            raise wrong_key("group_size", "affine takes a group size of 32, 64 or 128")
        if self.dtype and self.group_size and not (self.bits or self.mode or self.mixed):
            raise wrong_key("group_size", "dtype alone leaves the model unquantized; add bits, mode or mixed")
        return self

    @property
    def quantized(self) -> bool:
        """False where only a dtype is asked for."""
        return bool(self.bits or self.mode or self.mixed or self.group_size or not self.dtype)

    @property
    def q_mode(self) -> str:
        """The mode with its default."""
        return self.mode or "affine"

    @property
    def q_bits(self) -> int | None:
        """The bits with their default; None where there is no single width (unquantized, mixed)."""
        if not self.quantized or self.mixed:
            return None
        return FIXED_MODES[self.q_mode][0] if self.q_mode in FIXED_MODES else self.bits or 4

    @property
    def q_group_size(self) -> int | None:
        """The group size with its default; None where unquantized."""
        if not self.quantized:
            return None
        return FIXED_MODES[self.q_mode][1] if self.q_mode in FIXED_MODES else self.group_size or 64

    @property
    def label(self) -> str:
        """The name of the variant, as `4bit`, `bf16`, `mxfp4`, `4bit-gs32`."""
        return self.name or self._made_name()

    def _made_name(self) -> str:
        if not self.quantized:
            return DTYPE_NAMES[self.dtype or "bfloat16"]
        name = self.mixed or (self.mode if self.q_mode in FIXED_MODES else None) or f"{self.q_bits}bit"
        if self.q_mode not in FIXED_MODES and self.q_group_size != 64:
            name += f"-gs{self.q_group_size}"
        return name + (f"-{DTYPE_NAMES[self.dtype]}" if self.dtype else "")


def _short_variant(value: object) -> object:
    """Read `4bit`, `mxfp4`, `mixed_3_6` or `bf16` where a mapping may stand: forms have one line for it."""
    if not isinstance(value, str):
        return value
    if match := re.fullmatch(r"(\d)bit", value):
        return {"bits": int(match[1])}
    dtypes = {short: full for full, short in DTYPE_NAMES.items()}
    if value in dtypes or value in DTYPE_NAMES:
        return {"dtype": dtypes.get(value, value)}
    if value in get_args(Mixed):
        return {"mixed": value}
    if value not in FIXED_MODES:
        raise PydanticCustomError(
            "variant",
            "no variant is called {value}; a short name is like 4bit, {modes}, {mixed} or {dtypes}",
            {
                # As Python writes it: half of a surrogate pair has no form in UTF-8, which pydantic wants.
                "value": repr(value[:40]),
                "modes": ", ".join(FIXED_MODES),
                "mixed": get_args(Mixed)[0],
                "dtypes": ", ".join(dtypes),
            },
        )
    return {"mode": value}


VariantEntry = Annotated[Variant, BeforeValidator(_short_variant, json_schema_input_type=Variant | str)]
