"""What the methods that learn from text have in common: their keys, labels, flags and settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from mlx_publish.methods import rtn
from mlx_publish.methods._method import Form, Method, wrong_key
from mlx_publish.recipes.flags import Flag
from mlx_publish.recipes.sections import Strict

_SMALL_GROUP = 32
Named = Literal["awq", "dwq", "gptq", "rtn"]
DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "awq": {"grid": 20},
    "gptq": {"fallback_bits": 0},  # the bits of the variant
    "dwq": {"learning_rate": 1e-5, "batch_size": 4, "passes": 1},
}
"""The settings of each method that learns, as they are without a key."""


class Learning(Strict):
    """Settings of a method that learns. Each belongs to the method that its text begins with."""

    learning_rate: float | None = Field(None, gt=0, le=1)
    """dwq: step size of Adam. Default: 1e-5; mlx-lm's own is 1e-6, for ten times as much text. Small models take up to
    1e-4."""
    batch_size: int | None = Field(None, ge=1, le=256)
    """dwq: samples per step. Fewer need less memory. Default: 4."""
    passes: int | None = Field(None, ge=1, le=1000)
    """dwq: number of times to read the calibration text. Default: 1."""
    grid: int | None = Field(None, ge=2, le=200)
    """awq: number of scales to try for each layer. Fewer take less time. Default: 20."""
    fallback_bits: rtn.Bits | None = None
    """gptq: bits of what it cannot quantize, such as embeddings. Default: the same as `bits`."""


class Keys(Strict):
    """Their keys of a variant."""

    method: Annotated[
        Named | None,
        Flag(
            "NAME",
            "awq, dwq or gptq, which learn from text (default: rtn, rounding to nearest)",
            input="awq, dwq or gptq, which learn from text (default: rtn, rounding to nearest)",
        ),
    ] = None
    """How to find the quantized weights: `awq`, `dwq` and `gptq` learn from the calibration text
    ([Methods that learn](quantization.md#methods-that-learn)); `rtn`, the default, rounds to nearest."""
    learning: Learning | None = None
    """Settings of `method`."""


class Learned(Method):
    """A method of mlx-lm that reads the calibration text, with the whole source in memory."""

    order = 50  # behind plans: dwq may learn upon one
    learns = True
    portable = False
    widths: ClassVar[tuple[int, ...]]
    """Bits that it can do."""
    options: ClassVar[type[BaseModel]]
    upon_plans: ClassVar[bool] = False
    """Whether it may learn upon a plan."""

    def claims(self, keys: Any) -> bool:
        """Return whether `method` names it, in a variant or in its form."""
        return named(keys) == self.name

    def read(self, short: str) -> dict[str, object] | None:
        """Return the keys of `4bit-awq` or `4bit-gs32-awq`."""
        match = re.fullmatch(rf"(\d)bit(?:-gs(\d+))?-{self.name}", short)
        if match is None:
            return None
        group: dict[str, object] = {"group_size": int(match[2])} if match[2] else {}
        return {"bits": int(match[1]), **group, "method": self.name}

    def judge(self, keys: Any) -> None:
        """Raise where it cannot do the bits, or a key or a setting is none of its own."""
        if (plan := planned(keys)) and not self.upon_plans:
            raise wrong_key("method", f"{self.name} has one width; take dwq to learn upon a {plan.name}, or bits")
        for key in ("mode", "mixed"):
            if value := getattr(keys, key, None):
                raise wrong_key(key, f"{self.name} writes affine weights of one width, not {value}; remove {key}")
        if keys.bits not in (None, *self.widths):
            raise wrong_key("bits", f"{self.name} can do {listed(self.widths)} bits, not {keys.bits}")
        if keys.group_size == 16:
            raise wrong_key("group_size", f"{self.name} takes a group size of 32, 64 or 128")
        given = given_settings(keys)
        if foreign := next((key for key in given if key not in DEFAULTS[self.name]), None):
            own = ", ".join(DEFAULTS[self.name])
            raise wrong_key("learning", f"{foreign} is no setting of {self.name}, which has {own}")
        fallback, bits = given.get("fallback_bits"), keys.bits or 4
        if isinstance(fallback, int) and fallback < bits:
            raise wrong_key("learning", f"fallback_bits is {fallback}, less than the {bits} bits of the variant")

    def form(self, keys: Any) -> Form:
        """Return it with 4 bits and groups of 64 where nothing else is asked for."""
        return replace(self._widths(keys), options=self._options(keys))

    def _widths(self, keys: Any) -> Form:
        return Form(True, keys.bits or 4, keys.group_size or 64, "affine")

    def _options(self, keys: Any) -> dict[str, object]:
        given = given_settings(keys)
        return {"method": self.name, **({"learning": given} if given else {})}

    def label(self, form: Form) -> str:
        """Return `4bit-awq`, or `4bit-gs32-awq` for other groups than usual."""
        return f"{rtn.METHOD.label(form)}-{self.name}"

    def flags(self, form: Form) -> list[str]:
        """Return --method behind the flags of its width."""
        return [*rtn.METHOD.flags(form), "--method", self.name]

    def bits_per_weight(self, form: Form, wide: float) -> float:
        """Return the bits of a weight with its part of scale and bias."""
        return rtn.METHOD.bits_per_weight(form, wide)

    def better(self, form: Form) -> str:
        """Return the next wider one, and smaller groups."""
        wider = next((bits for bits in self.widths if bits > (form.bits or 0)), None)
        ways = [f"more bits ({wider}bit-{self.name})" if wider else "more bits (8bit)"]
        if (form.group_size or 0) > _SMALL_GROUP:
            ways.append(f"a smaller group (group_size: {_SMALL_GROUP})")
        return f"Use {' or '.join(ways)}, or bits by module (target_bpw)."


def planned(keys: Any) -> Method | None:
    """Return the method of plans, where the keys of a variant, or its form, ask for one."""
    method = of_plans()
    return method if method and method.claims(keys) else None


def of_plans() -> Method | None:
    """Return the method of plans."""
    from mlx_publish.methods import METHODS  # noqa: PLC0415  those of this module are among them

    return next((method for method in METHODS if method.name == "plan"), None)


def named(keys: Any) -> object:
    """Return the method that a variant, or its form, names; None if it names none."""
    options = getattr(keys, "options", None)
    return getattr(keys, "method", None) or (options.get("method") if isinstance(options, Mapping) else None)


def given_settings(keys: Any) -> dict[str, object]:
    """Return the settings that a variant names."""
    learning: Learning | None = getattr(keys, "learning", None)
    return learning.model_dump(exclude_none=True) if learning else {}


def settings_given(options: Mapping[str, object]) -> str:
    """Return the settings of a form's options as a recipe has them, `{passes: 2}`; empty where there are none."""
    given = options.get("learning")
    known = {key for settings in DEFAULTS.values() for key in settings}
    pairs = given.items() if isinstance(given, Mapping) else ()
    numbers = [f"{key}: {value:g}" for key, value in pairs if key in known and isinstance(value, (int, float))]
    return f"{{{', '.join(numbers)}}}" if numbers else ""


def settings_of(options: Mapping[str, object], bits: int | None) -> dict[str, float]:
    """Return all settings of a method that learns, by the options of a form and its bits; none for another method."""
    given = options.get("learning")
    settings = dict(DEFAULTS.get(str(options.get("method")), {}))
    settings.update(given if isinstance(given, Mapping) else {})
    if settings.get("fallback_bits") == 0:
        settings["fallback_bits"] = bits or 4
    return settings


def listed(numbers: tuple[int, ...]) -> str:
    """Return `2, 4 or 8`."""
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}"
