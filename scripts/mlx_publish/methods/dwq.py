"""DWQ: learn scales and biases so that the quantized model predicts what its source does."""

from __future__ import annotations

from typing import Any

from mlx_publish.methods._learned import Keys, Learned, listed, of_plans, planned
from mlx_publish.methods._method import Form, wrong_key


class Options(Keys):
    """Its keys of a variant."""


class Dwq(Learned):
    """The training of `mlx_lm.quant.dwq`, upon plain rounding or upon a plan."""

    name = "dwq"
    options = Options
    short_names = ("4bit-dwq",)
    upon_plans = True
    widths = (2, 3, 4, 5, 6)  # of 8 bits, mlx-lm learns nothing

    def read(self, short: str) -> dict[str, object] | None:
        """Return the keys of `4bit-dwq`, or of a plan's short name with `-dwq`, as `4.6bpw-dwq`."""
        plan, target = of_plans(), short.removesuffix(f"-{self.name}")
        keys = plan.read(target) if plan and target != short else None
        return {**keys, "method": self.name} if keys else super().read(short)

    def judge(self, keys: Any) -> None:
        """Raise where a plan or the bits do not fit, or a key or a setting is none of its own."""
        plan = planned(keys)
        if plan is None and keys.bits == 8:
            raise wrong_key("bits", f"dwq learns scales below 8 bits: take {listed(self.widths)}")
        super().judge(keys)
        if plan is not None:
            plan.judge(keys)

    def _widths(self, keys: Any) -> Form:
        plan = planned(keys)
        return plan.form(keys) if plan else super()._widths(keys)

    def _options(self, keys: Any) -> dict[str, object]:
        plan = planned(keys)
        return {**(plan.form(keys).options if plan else {}), **super()._options(keys)}

    def label(self, form: Form) -> str:
        """Return `4bit-dwq`, or the label of a plan with `-dwq`."""
        plan = planned(form)
        return f"{plan.label(form)}-{self.name}" if plan else super().label(form)

    def flags(self, form: Form) -> list[str]:
        """Return --method behind the flags of the plan or of the width."""
        plan = planned(form)
        return [*plan.flags(form), "--method", self.name] if plan else super().flags(form)

    def bits_per_weight(self, form: Form, wide: float) -> float:
        """Return the bits of a weight with its part of scale and bias, those of the plan where there is one."""
        plan = planned(form)
        return plan.bits_per_weight(form, wide) if plan else super().bits_per_weight(form, wide)

    def better(self, form: Form) -> str:
        """Return the advice of the plan, or the next wider ones."""
        plan = planned(form)
        return plan.better(form) if plan else super().better(form)


METHOD = Dwq()
