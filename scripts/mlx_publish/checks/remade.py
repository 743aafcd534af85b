"""Judgement of weights that differ from those of another conversion: rounding of another device, or other weights.

The limits are about twice of what was measured: on an NVIDIA H100, MLX's GPU backend gave another value than its CPU
backend in 0.13 % (affine, 2 bits) to 0.6 % (nvfp4) of all values, each one step away and halfway between two codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mlx_publish import __version__
from mlx_publish.checks.listed import shown
from mlx_publish.evidence.evidence import MadeOnSpec
from mlx_publish.evidence.weight_differences import LARGE, TensorDifference, WeightDifferences
from mlx_publish.text.numbers import significant

Kind = Literal["layout", "rounding", "other"]
WORDS: dict[Kind, str] = {
    "layout": "the same tensors in another layout",
    "rounding": "rounding of another device",
    "other": "other weights",
}
NOT_OURS = "Do not use it: choose another commit, or ask its publisher."
REMEDIES: dict[Kind, str] = {
    "layout": "The weights are the same, but their file is not: ask its publisher what wrote it again.",
    "rounding": "Do not take it for verified: anyone can make such changes on purpose. Ask its publisher to convert it "
    f"again with mlx-publish {__version__} or newer, which computes on the CPU and gives these bytes on every machine.",
    "other": NOT_OURS,
}
WEIGHT_FILES = (".safetensors", ".safetensors.index.json")
MOST_OF_ALL, MOST_OF_ONE = 0.01, 0.02
"""Share of the values that rounding changes: of the model, and of one tensor."""
_FEW = 4  # values of a small tensor that may differ whatever their share
_UNLIKELY = 0.1  # share of the differences that do not begin at a tie of the CPU
_SPREAD = 0.5  # share of the large quantized weights in which rounding changes something
_NAMED = 3


@dataclass(frozen=True)
class Judged:
    """What kind of difference it is, and why, in words."""

    kind: Kind
    why: str


def judge(found: WeightDifferences, made_on: MadeOnSpec | None = None) -> Judged:
    """Return what kind of difference it is; where one tensor differs more than rounding explains, it is `other`.

    `made_on` is what the evidence names, if it names the versions of this machine: on the CPU they round alike.
    """
    reasons = [*_structure(found), *_values(found)]
    if reasons:
        return Judged("other", "; ".join(reasons[:_NAMED]))
    if not found.changed:
        return Judged("layout", f"all {found.tensors} tensors have the same types, shapes and values")
    amount = _amount(found.changed, found.values)
    if made_on and made_on.backend == "cpu":
        same = "the evidence names MLX's CPU backend in this version, which rounds the same on every machine"
        return Judged("other", f"{amount}; {same}")
    return Judged("rounding", amount)


def _structure(found: WeightDifferences) -> Iterator[str]:
    if found.unreadable:
        yield f"a published file cannot be read: {shown(found.unreadable)}"
    for what, names, count in (
        ("missing", found.missing, len(found.missing)),
        ("not in the source, or twice", found.extra, found.extra_count),
    ):
        if names:
            yield f"{_some(names, count)}: {what}"
    if found.reshaped:
        names = list(found.reshaped)
        yield f"{_some(names, len(names))}: {found.reshaped[names[0]]}"


def _values(found: WeightDifferences) -> Iterator[str]:
    far = [tensor for tensor in found.changed if tensor.far or _much(tensor)]
    if far:
        worst = max(far, key=lambda tensor: (tensor.far, tensor.share))
        yield (
            f"{_some([worst.name], len(far))}: {_share(worst.differ, worst.values)} of its {worst.part} differ, "
            f"by up to {_steps(worst)}"
        )
        return
    codes = [tensor for tensor in found.changed if tensor.part == "codes"]
    differ, unlikely = (sum(getattr(tensor, key) for tensor in codes) for key in ("differ", "unlikely"))
    if sum(_weighty(found.changed)) > max(_FEW, MOST_OF_ALL * found.values):
        yield f"{_amount(found.changed, found.values)}, which is more than rounding changes"
    if unlikely > max(_FEW, _UNLIKELY * differ):
        yield (
            f"{unlikely:,} of {differ:,} codes that differ were not halfway between two, where devices round "
            "differently"
        )
    large = sum(tensor.values >= LARGE for tensor in codes)
    if found.changed and large < _SPREAD * found.large:
        yield f"only {large} of {found.large} large tensors differ, and another device rounds in all of them"


def _weighty(changed: Sequence[TensorDifference]) -> Iterator[int]:
    return (tensor.differ for tensor in changed if tensor.part in ("codes", "values"))


def _much(tensor: TensorDifference) -> bool:
    """Return whether more of a tensor differs than rounding changes; scales in float32 differ in their last digit."""
    free = tensor.part in ("scales", "biases") and tensor.dtype == "F32"
    return not free and tensor.differ > max(_FEW, MOST_OF_ONE * tensor.values)


def _amount(changed: Sequence[TensorDifference], values: int) -> str:
    differ = sum(_weighty(changed))
    largest = max((tensor.largest for tensor in changed if tensor.part in ("codes", "values")), default=0)
    zeros = sum(tensor.zeros for tensor in changed)
    words = f"{differ:,} of {values:,} values differ ({_share(differ, values)}) in {len(changed)} tensors"
    steps = f", by {'one step' if largest == 1 else f'up to {largest} steps'}" if largest else ""
    return f"{words}{steps}{f', and {zeros:,} zeros have another sign' if zeros else ''}"


def _some(names: Sequence[str], count: int) -> str:
    more = f" and {count - 1} more" if count > 1 else ""
    return f"{shown(names[0])}{more}"


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole if whole else 0.0
    return "under 0.001 %" if 0 < percent < 1e-3 else f"{significant(percent, 2)} %"


def _steps(tensor: TensorDifference) -> str:
    unit = "step" if tensor.part == "codes" or tensor.dtype[0] in "UI" else "ulp"
    return f"{tensor.largest:,} {unit}{'s' * (tensor.largest != 1)}"
