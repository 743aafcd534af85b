"""Tensors of a quantized source that stand for no weight: scales of what goes into a layer, and of the cache."""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.errors import Refused
from mlx_publish.model.packed_weight import Found
from mlx_publish.model.weights import TensorInfo

_OF_INPUTS = ("input_scale", "input_scale_ub", "input_global_scale", "activation_scale", "qscale_act")
_OF_CACHE = ("k_scale", "v_scale", "q_scale", "kv_scale", "prob_scale", "output_scale")
_CHANGED = "pre_quant_scale"


def find_beside(block: Mapping[str, object], by_name: Mapping[str, TensorInfo]) -> Found:
    """Return what a model in plain numbers has no use for; nothing where the source says of no quantization.

    `Refused` where inputs have to be multiplied before a layer (ModelOpt's AWQ), which no class of mlx-lm does.
    """
    beside = {}
    for name, tensor in by_name.items() if block else ():
        last = name.rpartition(".")[2]
        if last == _CHANGED or last.endswith(f"_{_CHANGED}"):
            raise Refused(
                "scales what goes into a layer, which mlx-lm's layers do not do",
                check="weights-numbers",
                place=name[:200],
                remedy="Choose the unquantized model, or a quantization without it.",
            )
        if last.endswith(_OF_INPUTS):
            beside[name] = "scales what goes into the layer"
        elif last in _OF_CACHE and (tensor.size == 1 or _has_cache(block)):
            beside[name] = "scales the cache of keys and values"
    return Found((), beside)


def _has_cache(block: Mapping[str, object]) -> bool:
    return bool(block.get("kv_cache_scheme") or block.get("kv_cache_quant_algo"))
