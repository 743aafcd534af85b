"""A config that says of a quantization which the weights no longer have; merging and dequantizing leave it behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlx_publish.model.packed_compressed_said import rotates
from mlx_publish.model.packed_gptq_said import said_by
from mlx_publish.model.quantized import quantized_by_tensors
from mlx_publish.model.weights import TensorInfo

_OF_INTEGERS = ("awq", "gptq", "auto-round", "bitsandbytes", "compressed-tensors")
_OF_FLOATS = ("fp8", "fbgemm_fp8", "finegrained_fp8", "modelopt", "mxfp4", "mxfp8")
_METHODS = frozenset(_OF_INTEGERS + _OF_FLOATS)
"""They quantize weights when they are saved; a model of plain weights computes with those. BitNet's would not."""
_PLAIN = frozenset({"F64", "F32", "BF16", "F16"})


def is_left_over(config: Mapping[str, object], block: Mapping[str, object], tensors: Iterable[TensorInfo]) -> bool:
    """Return whether a block says of a known method, and all weights are plain numbers without scales beside them.

    `block` is what the source says of its quantization, `tensors` are those that stand for weights.
    """
    if config.get("quantization") or _method(block) not in _METHODS or rotates(block):
        return False
    weights = tuple(tensors)
    plain = all(tensor.dtype in _PLAIN for tensor in weights if len(tensor.shape) > 1)
    return plain and bool(weights) and quantized_by_tensors(weights) is None


def _method(block: Mapping[str, object]) -> str:
    named = block.get("quant_method")
    if isinstance(named, str):
        return named.lower()
    if "config_groups" in block:
        return "compressed-tensors"
    return "modelopt" if isinstance(block.get("quant_algo"), str) else said_by(block).method
