"""Whether a model is quantized already, by whom and to how many bits: by its configs, else by its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlx_publish.model.weights import TensorInfo

SIDE_FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
_BLOCKS = ("quantization", "quantization_config", "compression_config")
_BITS_KEYS = ("bits", "w_bit", "wbits", "nbits", "num_bits", "weight_bits", "q_bits")
# Methods by what a config calls them: the name for people, and the bits where the name says them.
_METHODS: Mapping[str, tuple[str, float | None]] = {
    "awq": ("AWQ", None), "gptq": ("GPTQ", None), "bitsandbytes": ("bitsandbytes", None), "fp8": ("fp8", 8),
    "fbgemm_fp8": ("fp8 by FBGEMM", 8), "finegrained_fp8": ("fp8", 8), "mxfp4": ("mxfp4", 4), "mxfp8": ("mxfp8", 8),
    "compressed-tensors": ("compressed-tensors", None), "modelopt": ("ModelOpt", None), "bitnet": ("BitNet", 1.58),
    "hqq": ("HQQ", None), "quanto": ("Quanto", None), "eetq": ("EETQ", 8), "exl2": ("EXL2", None),
    "exl3": ("EXL3", None), "aqlm": ("AQLM", None), "torchao": ("torchao", None), "auto-round": ("AutoRound", None),
}  # fmt: skip
# Last parts of names that only one method uses.
_LAST_NAMES: Mapping[str, tuple[str, float | None]] = {
    "absmax": ("bitsandbytes", 4),
    "quant_map": ("bitsandbytes", 4),
    "SCB": ("bitsandbytes", 8),
    "q_weight": ("EXL2", None),
    "q_scale": ("EXL2", None),
    "W_q": ("HQQ", None),
}


@dataclass(frozen=True)
class Quantized:
    """Method, bits where they are known, and the place that shows it."""

    method: str
    bits: float | None
    where: str

    def __str__(self) -> str:
        """Return the words of a message: `GPTQ, 4 bits`."""
        return self.method if self.bits is None else f"{self.method}, {self.bits:g} bits"


def quantized_by_config(config: Mapping[str, object]) -> Quantized | None:
    """Return what config.json says, on top or in one of its parts, as `text_config`."""
    for prefix, part in (("", config), *((f"{key}.", value) for key, value in config.items())):
        for key in _BLOCKS:
            if isinstance(part, Mapping) and isinstance(block := part.get(key), Mapping) and block:
                return _block(block, f"{prefix}{key} of config.json", mlx=key == "quantization")
    return None


def quantized_by_side_file(path: str, content: Mapping[str, object]) -> Quantized | None:
    """Return what one of SIDE_FILES says; ModelOpt writes its file also where it quantized only the cache."""
    if path != "hf_quant_config.json":
        return _block(content, path, mlx=False, method="GPTQ" if path == "quantize_config.json" else "AWQ")
    nested = content.get("quantization")
    settings = nested if isinstance(nested, Mapping) else content
    return _block({"quant_method": "modelopt", **settings}, path, mlx=False) if settings.get("quant_algo") else None


def _block(block: Mapping[str, object], where: str, *, mlx: bool, method: str = "") -> Quantized:
    named = block.get("quant_method") or block.get("quant_type")
    if not isinstance(named, str):
        known = "MLX" if mlx else "compressed-tensors" if "config_groups" in block else method or "an unknown method"
        return Quantized(known, _bits(block), where)
    name, bits = _METHODS.get(named.lower(), (named, None))
    if isinstance(algorithm := block.get("quant_algo"), str):
        name = f"{name} {algorithm}"
        bits = 4 if "FP4" in algorithm else 8 if "FP8" in algorithm else None
    return Quantized(name, bits if bits is not None else _bits(block), where)


def _bits(block: Mapping[str, object]) -> float | None:
    """Return the bits, by whatever key a method keeps them in."""
    for key, bits in (("load_in_4bit", 4), ("load_in_8bit", 8), ("_load_in_4bit", 4), ("_load_in_8bit", 8)):
        if block.get(key) is True:
            return bits
    for key in _BITS_KEYS:
        if isinstance(value := block.get(key), (int, float)) and not isinstance(value, bool):
            return value
    groups = block.get("config_groups")
    parts = groups.values() if isinstance(groups, Mapping) else ()
    weights = (part.get("weights") for part in parts if isinstance(part, Mapping))
    widths = {_bits(part) for part in weights if isinstance(part, Mapping)}
    return widths.pop() if len(widths) == 1 else None


def quantized_by_tensors(tensors: Iterable[TensorInfo]) -> Quantized | None:
    """Return what names and types of tensors show where no config says anything."""
    by_name = {tensor.name: tensor for tensor in tensors}
    guesses = [(name, _by_name(name, by_name)) for name in by_name]
    # A name says more than a type.
    guesses += [(name, _by_type(tensor, by_name)) for name, tensor in by_name.items()]
    return next((Quantized(*guess, name) for name, guess in guesses if guess), None)


def _by_name(name: str, by_name: Mapping[str, TensorInfo]) -> tuple[str, float | None] | None:
    stem, _, last = name.rpartition(".")
    if last in ("qweight", "qzeros", "g_idx"):
        return _gptq_or_awq(stem, by_name)
    if last.startswith("bitsandbytes__"):
        return "bitsandbytes", 4
    if last == "weight_packed":
        four = f"{stem}.weight_global_scale" in by_name
        return ("compressed-tensors nvfp4", 4) if four else ("compressed-tensors", None)
    if name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in by_name:
        return "mxfp4", 4
    return _LAST_NAMES.get(last)


def _gptq_or_awq(stem: str, by_name: Mapping[str, TensorInfo]) -> tuple[str, float | None]:
    """Tell GPTQ, which packs along the input, from AWQ, which packs along the output; both pack zeros along the output.

    Source: the shapes of scales (groups, out), qzeros (groups, out * bits / 32).
    """
    weight, zeros, scales = (by_name.get(f"{stem}.{part}") for part in ("qweight", "qzeros", "scales"))
    flat = [tensor for tensor in (weight, zeros, scales) if tensor is not None and len(tensor.shape) == 2]
    out = scales.shape[1] if scales is not None and scales in flat else 0
    bits = 32 * zeros.shape[1] / out if zeros is not None and zeros in flat and out else None
    if f"{stem}.g_idx" in by_name or (weight is not None and weight in flat and weight.shape[1] == out):
        return "GPTQ", bits
    return ("AWQ", bits) if out else ("AWQ or GPTQ", bits)


def _by_type(tensor: TensorInfo, by_name: Mapping[str, TensorInfo]) -> tuple[str, float | None] | None:
    """Return what weights show that are no floating numbers of 16 bits or more."""
    small = tensor.dtype in ("F8_E4M3", "F8_E5M2", "F4")  # these are numbers of a weight by whatever name
    if not small and (len(tensor.shape) < 2 or not tensor.name.endswith(("weight", "_proj"))):
        return None
    scales = [end for end in ("_scale", "_scale_inv", "_scale_2") if f"{tensor.name}{end}" in by_name]
    scales += [".scales"] if f"{tensor.name.removesuffix('.weight')}.scales" in by_name else []
    if tensor.dtype in ("F8_E4M3", "F8_E5M2"):
        return ("fp8", 8) if scales else ("fp8 without its scales", 8)
    if tensor.dtype == "U32" and ".scales" in scales:
        return "MLX", None
    if tensor.dtype == "U8" and "_scale_2" in scales:
        return "ModelOpt NVFP4", 4
    if tensor.dtype in ("I8", "U8", "I16", "I32", "U32", "F4"):
        return f"{tensor.dtype} in place of numbers{'' if scales else ', without their scales'}", None
    return (f"scales beside {tensor.dtype} weights", None) if {"_scale", "_scale_inv"} & set(scales) else None
