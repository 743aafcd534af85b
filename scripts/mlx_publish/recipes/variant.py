"""A variant: one form of the model, as written, by its short name, and with its defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from mlx_publish.methods import METHODS, Form, Method, method_of, plan, rtn
from mlx_publish.recipes import patterns
from mlx_publish.recipes.flags import Flag
from mlx_publish.recipes.sections import Strict
from mlx_publish.recipes.slips import variants_meant
from mlx_publish.text.nearest import did_you_mean

Dtype = Literal["bfloat16", "float16", "float32"]
AUTO = "auto"
"""In place of a list of variants: three by plan."""
DTYPE_NAMES: Mapping[str, str] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


class VariantBase(Strict):
    """One form of the model: quantized by bits, mode, mixed recipe, plan or method, or unquantized in a dtype."""

    methods: ClassVar[tuple[Method, ...]] = METHODS

    name: str | None = Field(None, pattern=patterns.NAME, max_length=64)
    """Names the variant in the work folder and in `{variant}`. Default: from the other keys, such as `4bit-gs32`."""

    @model_validator(mode="after")
    def _options_fit(self) -> VariantBase:
        self.quantizer.judge(self)
        return self

    @property
    def quantizer(self) -> Method:
        """The method that quantizes it, where it is quantized."""
        return method_of(self, self.methods)

    @property
    def form(self) -> Form:
        """What it is, with its defaults filled in."""
        form = self.quantizer.form(self) if self.quantized else Form(quantized=False)
        return replace(form, dtype=self._dtype)

    @property
    def quantized(self) -> bool:
        """False where only a dtype is asked for."""
        return not self._dtype or self.quantizer.claims(self)

    @property
    def label(self) -> str:
        """The name of the variant, as `4bit`, `bf16`, `mxfp4`, `4bit-gs32`."""
        return self.name or self._made_name()

    @property
    def _dtype(self) -> str | None:
        dtype: str | None = getattr(self, "dtype", None)
        return dtype

    def _made_name(self) -> str:
        if not self.quantized:
            return DTYPE_NAMES[self._dtype or "bfloat16"]
        return self.quantizer.label(self.form) + (f"-{DTYPE_NAMES[self._dtype]}" if self._dtype else "")


class Typed(Strict):
    """The key of a variant that no method has."""

    dtype: Annotated[
        Dtype | None,
        Flag(
            "D",
            "bfloat16, float16 or float32; on its own: unquantized",
            input="bfloat16, float16 or float32; on its own, it makes an unquantized variant",
        ),
    ] = None
    """Dtype of unquantized tensors. On its own, it makes an unquantized variant."""


def variant_class(methods: tuple[Method, ...]) -> type[VariantBase]:
    """Return the class of a variant that has the keys of these methods."""
    bases: tuple[Any, ...] = (Typed, *(method.options for method in reversed(methods)), VariantBase)
    create: Any = create_model  # its result is no type to mypy
    variant: type[VariantBase] = create("Variant", __base__=bases, __doc__=VariantBase.__doc__)
    variant.methods = methods
    return variant


if TYPE_CHECKING:

    class Variant(Typed, plan.Options, rtn.Options, VariantBase):
        """As the registered methods make it."""

else:
    Variant = variant_class(METHODS)


def short_variant(value: object, methods: tuple[Method, ...] = METHODS) -> object:
    """Read `4bit`, `mxfp4`, `mixed_3_6` or `bf16` where a mapping may stand: forms have one line for it."""
    if not isinstance(value, str):
        return value
    if (keys := _keys_of(value, methods)) is not None:
        return keys
    if value == AUTO:
        reason = f"{AUTO} stands for {len(plan.AIMS)} variants and for nothing beside them; write variants: {AUTO}"
        raise PydanticCustomError("variant", "{reason}", {"reason": reason})
    known = [name for method in methods for names in method.short_names for name in names.split(", ")]
    known += DTYPE_NAMES.values()
    shown = repr(value[:40])  # as Python writes it: half of a surrogate pair has no form in UTF-8, which pydantic wants
    meant: dict[str, str] = {}  # of several names of the same keys the first
    for name in variants_meant(value):
        if (keys := _keys_of(name, methods)) is not None:
            meant.setdefault(str(keys), name)
    if meant:
        reason = f"no variant is called {shown}; use {' or '.join(meant.values())}"
    else:
        reason = f"no variant is called {shown}{did_you_mean(value, known) or '.'} Short names: {', '.join(known)}"
    raise PydanticCustomError("variant", "{reason}", {"reason": reason})


def _keys_of(short: str, methods: tuple[Method, ...]) -> dict[str, object] | None:
    """Return the keys that a short name stands for, None if it is none."""
    dtypes = {short: full for full, short in DTYPE_NAMES.items()}
    if short in dtypes or short in DTYPE_NAMES:
        return {"dtype": dtypes.get(short, short)}
    return next((keys for method in methods if (keys := method.read(short)) is not None), None)


def all_variants(value: object) -> object:
    """Read `auto` as the three aims of a plan."""
    return list(plan.AIMS) if value in (AUTO, [AUTO]) else value


VariantEntry = Annotated[Variant, BeforeValidator(short_variant, json_schema_input_type=Variant | str)]
