"""What is said of a tensor of a packed weight that does not fit the others, or the config."""

from __future__ import annotations

from mlx_publish.errors import Refused
from mlx_publish.model.weights import TensorInfo

FLOATS = ("F32", "BF16", "F16")
_LONGEST = 200
_REMEDY = "Compare quantization_config with the weights; download the source again if it is not whole."


def misfit(name: str, fault: str, remedy: str = _REMEDY) -> Refused:
    """Return the error for a tensor of a packed weight."""
    return Refused(fault, check="weights-numbers", place=name[:_LONGEST], remedy=remedy)


def scales_beside(name: str, scales: TensorInfo | None, wanted: str) -> TensorInfo:
    """Return the scales of packed weights; `Refused` if there are none, or if they are no floating numbers."""
    if scales is None:
        raise misfit(name, f"has no {wanted} beside it, without which its integers are no numbers")
    if scales.dtype not in FLOATS:
        raise misfit(scales.name, f"holds scales in {scales.dtype}, which are floating numbers in every known form")
    return scales


def words_of(tensor: TensorInfo) -> TensorInfo:
    """Return a tensor of packed integers; `Refused` if it has no words of 32 bits, or neither two sides nor three."""
    if tensor.dtype not in ("I32", "U32"):
        raise misfit(tensor.name, f"holds words of {tensor.dtype}; integers packed into 32 bits are read")
    if len(tensor.shape) not in (2, 3):
        raise misfit(tensor.name, f"has the shape {list(tensor.shape)}; packed weights have two sides, experts three")
    return tensor


def plain_name(stem: str, sides: int) -> str:
    """Return the name that a weight has in an unquantized model: fused experts are parameters without a module."""
    return f"{stem}.weight" if sides == 2 else stem


def whole_number(value: object) -> int | None:
    """Return an integer of a config, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
