"""Bits by module: as many as each needs, measured on the source, so that the whole has a size that was asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from mlx_publish.machine.macs import SIZES_GB, memory_gb, most_weights_for
from mlx_publish.methods._method import Form, Method, wrong_key
from mlx_publish.recipes import patterns
from mlx_publish.recipes.flags import Flag
from mlx_publish.recipes.sections import Strict

Aim = Literal["near-identical", "balanced", "smallest"]
AIMS: tuple[str, ...] = get_args(Aim)
DEFAULT_CONTEXT = 8192
TARGETS = ("target_bpw", "fits", "aim", "plan")
"""Its keys of which a variant has one."""
_OF_ROUNDING = ("bits", "group_size", "mixed")
_AT_MOST: Mapping[str, float] = {"near-identical": 8.5, "balanced": 6.5, "smallest": 5.5}
"""Bits per weight that an aim hardly ever needs more than, for what has to be known before anything is measured."""
_MORE = 0.5
_NARROWEST = 32


def _of_a_mac(value: object) -> object:
    """Read `16`, `16GB` or `16 GiB` as `16GB`."""
    gb = memory_gb(str(value)) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    if gb is None:
        reason = f"{str(value)[:40]!r} is not the memory of a Mac; write it as 16GB, 36GB or 128GB"
        raise PydanticCustomError("variant", "{reason}", {"reason": reason})
    return f"{gb}GB"


Bpw = Annotated[float, Field(ge=2, le=16)]
Memory = Annotated[str, BeforeValidator(_of_a_mac, json_schema_input_type=str | int)]
Tokens = Annotated[int, Field(ge=1, le=1 << 24)]
File = Annotated[str, Field(min_length=1, max_length=1000, pattern=patterns.PRINTED)]


class Options(Strict):
    """Its keys of a variant."""

    target_bpw: Annotated[
        Bpw | None,
        Flag(
            "N",
            "Bits per weight of the whole model, such as 4.6; each module gets the bits that it needs",
            input="Bits per weight of the whole model, such as 4.6, for a planned variant",
        ),
    ] = None
    """Bits per weight of the whole model, scales included, such as `4.6`. Each module gets the bits that it needs
    ([Quantization](quantization.md))."""
    fits: Annotated[
        Memory | None,
        Flag(
            "MEMORY",
            "Memory of the Mac that the model is to run on, such as 16GB",
            input="Memory of the Mac that a planned variant has to fit, such as 16GB",
        ),
    ] = None
    """Memory of the Mac to run the model on, such as `16GB`: the closest model whose weights, cache and a margin fit
    what macOS lets the GPU use ([details](quantization.md#what-fits-a-mac))."""
    context: Annotated[Tokens | None, Flag("N", "Tokens of context that have to fit with --fits (default: 8192)")] = (
        None
    )
    """Tokens of context that must fit beside the weights. Only with `fits`. Default: 8192."""
    aim: Annotated[
        Aim | None,
        Flag("AIM", "near-identical, balanced or smallest", input="near-identical, balanced or smallest"),
    ] = None
    """`near-identical`: the smallest model that is predicted to be [near-identical](card.md#the-verdict) to its source.
    `smallest`: the smallest that is predicted to be close. `balanced`: between the two."""
    plan: Annotated[
        File | None,
        Flag(
            "FILE",
            "Plan file to follow; nothing is measured",
            input="Path of a plan file to follow; nothing is measured",
        ),
    ] = None
    """Path of a plan file, relative to the recipe. The variant gets exactly its bits, and nothing is measured
    ([how to pin one](quantization.md#pin-a-plan))."""


@dataclass(frozen=True)
class Target:
    """What a plan is to reach; one of these is set."""

    bits_per_weight: float | None = None
    memory_gb: int | None = None
    """Of the Mac that it has to fit."""
    context: int = DEFAULT_CONTEXT
    """Tokens, with `memory_gb`."""
    aim: str | None = None
    file: str | None = None
    """A plan file as the recipe names it."""

    @property
    def key(self) -> str:
        """The key of the recipe."""
        values = (self.bits_per_weight, self.memory_gb, self.aim, self.file)
        return next(key for key, value in zip(TARGETS, values, strict=True) if value is not None)

    @property
    def keys(self) -> dict[str, str | int | float]:
        """The keys of a recipe that ask for it."""
        if self.memory_gb is not None:
            fits: dict[str, str | int | float] = {"fits": f"{self.memory_gb}GB"}
            return fits if self.context == DEFAULT_CONTEXT else {**fits, "context": self.context}
        value = self.bits_per_weight if self.bits_per_weight is not None else self.aim or self.file or ""
        return {self.key: value}

    @property
    def label(self) -> str:
        """Return `4.6bpw`, `fits-16GB`, `near-identical`, or the name of a file without its ending."""
        if self.bits_per_weight is not None:
            return f"{self.bits_per_weight:g}bpw"
        if self.memory_gb is not None:
            context = "" if self.context == DEFAULT_CONTEXT else f"-{self.context}"
            return f"fits-{self.memory_gb}GB{context}"
        return self.aim or re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath(self.file or "").stem).strip("-._")[:64] or "plan"

    @property
    def words(self) -> str:
        """Return `4.6 bits per weight`, `16 GB at 8,192 tokens`, `balanced`, or the name of a file."""
        if self.bits_per_weight is not None:
            return f"{self.bits_per_weight:g} bits per weight"
        if self.memory_gb is not None:
            return f"{self.memory_gb} GB at {self.context:,} tokens"
        return self.aim or PurePath(self.file or "").name


def target_of(keys: Any) -> Target | None:
    """Return what the keys of a variant, or the options of a form, ask of a plan; None where they ask for none."""
    bpw, fits, context, aim, plan = (_value(keys, key) for key in ("target_bpw", "fits", "context", "aim", "plan"))
    if bpw is not None:
        return Target(bits_per_weight=float(bpw))
    if fits is not None:
        return Target(memory_gb=memory_gb(str(fits)) or 0, context=int(context or DEFAULT_CONTEXT))
    if aim is not None:
        return Target(aim=str(aim))
    return None if plan is None else Target(file=str(plan))


def judge_target(keys: Any) -> None:
    """Raise `wrong_key` where the keys of a plan do not fit together, or not with those of plain rounding."""
    given = [key for key in TARGETS if _value(keys, key) is not None]
    if len(given) > 1:
        raise wrong_key(given[1], f"a plan has one target; take {given[0]} or {given[1]}, not both")
    if _value(keys, "context") is not None and given != ["fits"]:
        raise wrong_key("context", "context is part of fits; add fits: 16GB, or remove context")
    if given and (other := next((key for key in _OF_ROUNDING if getattr(keys, key, None) is not None), None)):
        raise wrong_key(other, f"a plan chooses bits and groups of each module; take {given[0]} or {other}, not both")
    method = getattr(keys, "method", None)
    if given and method not in (None, "dwq"):
        raise wrong_key("method", f"a plan is not written by {method}; take dwq to learn upon it, or remove method")
    if given and method is None and getattr(keys, "learning", None) is not None:
        raise wrong_key("learning", "a plan learns nothing by itself; add method: dwq, or remove learning")
    if given and getattr(keys, "mode", None) not in (None, "affine"):
        raise wrong_key("mode", f"a plan is affine, not {keys.mode}; take {given[0]} or mode, not both")


def narrowest_group(variant: Any) -> int | None:
    """Return the fewest weights that may share a scale in a variant; None where it is unquantized."""
    if target_of(variant) is not None:
        return _NARROWEST
    group: int | None = variant.form.group_size
    return group


def most_bytes(variant: Any) -> int | None:
    """Return the bytes of weights that the Mac of `fits` holds at most; None without a Mac."""
    target = target_of(variant)
    return most_weights_for(target.memory_gb << 30) if target and target.memory_gb is not None else None


def width_of(variant: Any) -> str:
    """Return what `{bits}` of a destination stands for; empty where no single width is known before the conversion."""
    target = target_of(variant)
    if target is None:
        return str(variant.form.bits or "")
    return "" if target.bits_per_weight is None else f"{target.bits_per_weight:g}"


def _value(keys: Any, key: str) -> Any:
    """Return a key of a variant, or of the options of its form."""
    own = keys.get(key) if isinstance(keys, Mapping) else getattr(keys, key, None)
    options = getattr(keys, "options", None)
    return own if own is not None or not isinstance(options, Mapping) else options.get(key)


class Planned(Method):
    """Bits and group size of each module by what rounding it does to the source's predictions."""

    name = "plan"
    order = 10
    options = Options
    learns = True
    short_names = ("4.6bpw", "fits-16GB", *AIMS)

    def claims(self, keys: Any) -> bool:
        """Return whether the keys of a variant, or the options of its form, ask for a plan."""
        return target_of(keys) is not None or _value(keys, "context") is not None

    def read(self, short: str) -> dict[str, object] | None:
        """Return the keys of `4.6bpw`, `fits-16GB`, `fits-16GB-32768` or `balanced`."""
        if match := re.fullmatch(r"(\d{1,2}(?:\.\d{1,3})?)bpw", short):
            return {"target_bpw": float(match[1])}
        if match := re.fullmatch(r"fits-([1-9]\d{0,3}GB)(?:-([1-9]\d{0,7}))?", short):
            return {"fits": match[1]} | ({"context": int(match[2])} if match[2] else {})
        return {"aim": short} if short in AIMS else None

    def judge(self, keys: Any) -> None:
        """Raise where a variant has several targets, or bits beside one."""
        judge_target(keys)
        if getattr(keys, "dtype", None) == "float32":
            raise wrong_key("dtype", "a plan counts scales of 16 bits; take bfloat16 or float16")

    def form(self, keys: Any) -> Form:
        """Return its keys as options: neither bits nor groups hold for all of its weights."""
        target = target_of(keys)
        return Form(True, mode="affine", options=target.keys if target else {})

    def label(self, form: Form) -> str:
        """Return `4.6bpw`, `fits-16GB`, `balanced`, or the name of the plan file."""
        return _target(form).label

    def flags(self, form: Form) -> list[str]:
        """Return the target as a flag."""
        keys = _target(form).keys.items()
        texts = {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in keys}
        return [word for key, text in texts.items() for word in (f"--{key.replace('_', '-')}", text)]

    def bits_per_weight(self, form: Form, wide: float) -> float:
        """Return the target, or what the plan hardly needs more than."""
        target = _target(form)
        return min(wide, target.bits_per_weight or _AT_MOST.get(target.aim or "", wide))

    def better(self, form: Form) -> str:
        """Return a wider target."""
        target = _target(form)
        if target.bits_per_weight is not None:
            return f"Use more bits: target_bpw: {min(16, target.bits_per_weight + _MORE):g}."
        if target.memory_gb is not None:
            larger = next((gb for gb in SIZES_GB if gb > target.memory_gb), 2 * target.memory_gb)
            return f"Use a Mac with more memory (fits: {larger}GB) or a shorter context."
        if target.aim is not None:
            wider = AIMS[AIMS.index(target.aim) - 1] if target.aim != AIMS[0] else ""
            return f"Use aim: {wider}." if wider else "Use 8 bits (8bit) or an unquantized variant (bf16)."
        return f"Give the modules of {target.file} with the largest kld more bits."


def _target(form: Form) -> Target:
    target = target_of(form.options)
    if target is None:
        raise ValueError("a plan has no target")
    return target


METHOD = Planned()
