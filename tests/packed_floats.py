"""Weights in small floats as their makers publish them, written from known numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from small_floats import Raw, Written, e2m1, e4m3, e5m2, e8m0, packed, raw
from tensor_file import bfloat16, float32

Codes = NDArray[np.uint8]
DEEPSEEK: dict[str, object] = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "weight_block_size": [128, 128],
}
POWERS: dict[str, object] = {**DEEPSEEK, "scale_fmt": "ue8m0", "weight_block_size": [32, 32]}
MODELOPT: dict[str, object] = {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}


def compressed(form: str, **weights: object) -> dict[str, object]:
    """What compressed-tensors writes of its weights."""
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": {"weights": weights}}}


class Maker:
    """Random codes and scales of one seed."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)

    def bytes(self, *shape: int, nan: int = 0x7F) -> Codes:
        """All codes of an 8-bit float but NaN and, with `nan` 0x7C, infinity."""
        codes = self.random.integers(0, 256, shape, dtype=np.uint8)
        return np.where(codes & 0x7F >= nan, codes & 0x83, codes).astype(np.uint8)

    def positive(self, *shape: int) -> Codes:
        """Codes of E4M3 without a sign."""
        codes: Codes = np.bitwise_and(self.bytes(*shape), np.uint8(0x7F))
        return codes

    def halves(self, *shape: int) -> Codes:
        """Codes of E2M1."""
        return self.random.integers(0, 16, shape, dtype=np.uint8)

    def powers(self, *shape: int) -> Codes:
        """Codes of E8M0 about one."""
        return self.random.integers(110, 135, shape, dtype=np.uint8)

    def scales(self, *shape: int) -> NDArray[np.float32]:
        """Floats that need all bits of a float32."""
        return (self.random.uniform(0.5, 2, shape) * 1e-3).astype(np.float32)


def spread(scales: NDArray[np.float64], block: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Scales of blocks, each at all numbers of its block."""
    rows, columns = shape[-2:]
    wide = scales.repeat(block[0], axis=-2)[..., :rows, :].repeat(block[1], axis=-1)
    return wide[..., :columns]


def fp8_blocks() -> Written:
    """DeepSeek V3, MiniMax M2: blocks of 128 x 128, the last ones cut off."""
    make = Maker()
    codes, scales = make.bytes(200, 300), make.scales(2, 3)
    weight = e4m3(codes) * spread(scales.astype(float), (128, 128), (200, 300))
    tensors = {"a.weight": raw("F8_E4M3", codes), "a.weight_scale_inv": raw("F32", scales)}
    return Written(DEEPSEEK, tensors, {"a.weight": weight})


def fp8_unsaid() -> Written:
    """The same in a source whose config says nothing."""
    written = fp8_blocks()
    return Written({}, written.tensors, written.weights)


def fp8_rows() -> Written:
    """FBGEMM and compressed-tensors: a scale for each row, as a column or as a list, in bfloat16."""
    make, tensors, weights = Maker(1), {}, {}
    for name, shape in (("a", (24, 1)), ("b", (24,))):
        codes, bits = make.bytes(24, 40), bfloat16(make.scales(*shape))
        tensors[f"{name}.weight"], tensors[f"{name}.weight_scale"] = raw("F8_E4M3", codes), raw("BF16", bits)
        weights[f"{name}.weight"] = e4m3(codes) * float32(bits).reshape(-1, 1).astype(float)
    return Written(compressed("float-quantized", num_bits=8, strategy="channel"), tensors, weights)


def fp8_tensor() -> Written:
    """Ministral 3 and ModelOpt: one scale, as a number or as a list of one, with scales of inputs and of the cache."""
    make, tensors, weights = Maker(2), {}, {}
    for name, end, shape in (("a", "weight_scale_inv", ()), ("b", "weight_scale", (1,)), ("c", "qscale_weight", ())):
        codes, scale = make.bytes(24, 40), np.float32(0.00123456).reshape(shape)
        tensors[f"{name}.weight"], tensors[f"{name}.{end}"] = raw("F8_E4M3", codes), raw("F32", scale)
        weights[f"{name}.weight"] = e4m3(codes) * float(scale.reshape(()))
    for name in ("a.activation_scale", "b.input_scale", "c.qscale_act", "k_proj.k_scale", "v_proj.v_scale"):
        tensors[name] = raw("F32", np.float32(3))
    return Written({"quant_method": "fp8", "activation_scheme": "static"}, tensors, weights)


def fp8_e5m2() -> Written:
    """The other 8-bit float, which MLX does not read."""
    make = Maker(3)
    codes, scales = make.bytes(64, 256, nan=0x7C), make.scales(1, 2)
    tensors = {"a.weight": raw("F8_E5M2", codes), "a.weight_scale_inv": raw("F32", scales)}
    weight = e5m2(codes) * spread(scales.astype(float), (128, 128), (64, 256))
    return Written({**DEEPSEEK, "fmt": "e5m2"}, tensors, {"a.weight": weight})


def fp8_powers() -> Written:
    """Scales that are powers of two: as E8M0, as bytes, as float32; tiles of 32 x 32 and groups of 32 (MXFP8)."""
    make, tensors, weights = Maker(4), {}, {}
    for name, kind, block in (
        ("a", "F8_E8M0", (32, 32)),
        ("b", "U8", (32, 32)),
        ("c", "F32", (32, 32)),
        ("d", "U8", (1, 32)),
    ):
        codes, powers = make.bytes(80, 96), make.powers(-(-80 // block[0]), 3)
        scales = e8m0(powers)
        tensors[f"{name}.weight"] = raw("F8_E4M3", codes)
        stored = scales.astype(np.float32) if kind == "F32" else powers
        tensors[f"{name}.weight_scale_inv"] = raw(kind, stored)
        weights[f"{name}.weight"] = e4m3(codes) * spread(scales, block, (80, 96))
    return Written(POWERS, tensors, weights)


def fp8_experts() -> Written:
    """Experts in one tensor: Mistral 4, transformers' own (blocks), FBGEMM's Llama 4, and ModelOpt's names."""
    make, shape = Maker(5), (3, 40, 160)
    tensors: dict[str, Raw] = {}
    weights = {}
    for name, end, size, block in (
        ("a.gate_up_proj", "_scale_inv", (3, 1, 1), None),
        ("b.gate_up_proj", "_scale_inv", (3,), None),
        ("c.gate_up_proj", "_scale_inv", (3, 1, 2), (128, 128)),
        ("d.down_proj", "_scale", (3, 40, 1), (1, 160)),
        ("e.gate_up_proj", "_scale", (3, 1, 160), (40, 1)),
        ("f.down_proj", "_weight_scale", (), None),
    ):
        codes, scales = make.bytes(*shape), make.scales(*size)
        tensors[name], tensors[f"{name}{end}"] = raw("F8_E4M3", codes), raw("F32", scales)
        exact = scales.astype(float)
        wide = spread(exact, block, shape) if block else exact.reshape(-1, 1, 1)
        weights[name] = e4m3(codes) * wide
    return Written(DEEPSEEK, tensors, weights)


def fp8_fbgemm() -> Written:
    """FBGEMM's `down_proj` of Llama 4, (experts, in, out), with scales for `out` that stand in a column."""
    make = Maker(6)
    codes, scales = make.bytes(2, 24, 40), make.scales(2, 40, 1)
    tensors = {"a.down_proj": raw("F8_E4M3", codes), "a.down_proj_scale": raw("F32", scales)}
    weight = e4m3(codes) * scales.astype(float).transpose(0, 2, 1)
    return Written({"quant_method": "fbgemm_fp8"}, tensors, {"a.down_proj": weight})


def fp8_compressed_blocks() -> Written:
    """compressed-tensors with blocks."""
    make = Maker(7)
    codes, scales = make.bytes(100, 100), make.scales(2, 4)
    tensors = {"a.weight": raw("F8_E4M3", codes), "a.weight_scale": raw("F32", scales)}
    weight = e4m3(codes) * spread(scales.astype(float), (64, 32), (100, 100))
    block = compressed("float-quantized", num_bits=8, strategy="block", block_structure=[64, 32])
    return Written(block, tensors, {"a.weight": weight})


def gpt_oss() -> Written:
    """gpt-oss: blocks of 16 bytes, the rows of gate and up by turns."""
    make, tensors, weights = Maker(8), {}, {}
    for kind, rows in (("gate_up_proj", 12), ("down_proj", 10)):
        codes, powers = make.halves(3, rows, 2, 32), make.powers(3, rows, 2)
        stem = "model.layers.0.mlp.experts"
        tensors[f"{stem}.{kind}_blocks"] = raw("U8", packed(codes))
        tensors[f"{stem}.{kind}_scales"] = raw("U8", powers)
        values = (e2m1(codes) * e8m0(powers)[..., None]).reshape(3, rows, 64)
        if kind == "down_proj":
            weights[f"{stem}.down_proj.weight"] = values
        else:
            weights[f"{stem}.gate_proj.weight"] = values[:, 0::2]
            weights[f"{stem}.up_proj.weight"] = values[:, 1::2]
    return Written({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, tensors, weights)


def mxfp4_compressed() -> Written:
    """compressed-tensors, as Kimi K3's experts; groups of 32."""
    make = Maker(9)
    codes, powers = make.halves(20, 96), make.powers(20, 3)
    tensors = {"a.w1.weight_packed": raw("U8", packed(codes)), "a.w1.weight_scale": raw("U8", powers)}
    weight = e2m1(codes) * spread(e8m0(powers), (1, 32), (20, 96))
    block = compressed("mxfp4-pack-quantized", num_bits=4, type="float", strategy="group", group_size=32)
    return Written(block, tensors, {"a.w1.weight": weight})


def _nvfp4(make: Maker, *shape: int) -> tuple[Codes, Codes, NDArray[np.float64]]:
    """Codes, codes of the scales of 16 numbers, and their exact product."""
    codes, scales = make.halves(*shape), make.positive(*shape[:-1], shape[-1] // 16)
    return codes, scales, e2m1(codes) * spread(e4m3(scales), (1, 16), shape)


def nvfp4_compressed() -> Written:
    """compressed-tensors: the global scale divides."""
    make = Maker(10)
    codes, scales, product = _nvfp4(make, 20, 96)
    whole = np.array([7342.7], np.float32)
    tensors = {
        "a.weight_packed": raw("U8", packed(codes)),
        "a.weight_scale": raw("F8_E4M3", scales),
        "a.weight_global_scale": raw("F32", whole),
        "a.input_global_scale": raw("F32", whole),
    }
    block = compressed("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group", group_size=16)
    return Written(block, tensors, {"a.weight": product / float(whole[0])})


def nvfp4_modelopt() -> Written:
    """ModelOpt: the second scale multiplies; the cache in fp8 has scales, too."""
    make = Maker(11)
    codes, scales, product = _nvfp4(make, 20, 96)
    whole = np.float32(0.000138271)
    tensors = {
        "a.weight": raw("U8", packed(codes)),
        "a.weight_scale": raw("F8_E4M3", scales),
        "a.weight_scale_2": raw("F32", whole),
        "a.input_scale": raw("F32", whole),
        "k_proj.k_scale": raw("F32", whole),
    }
    side: dict[str, dict[str, object]] = {
        "hf_quant_config.json": {
            "producer": {"name": "modelopt"},
            "quantization": {"quant_algo": "NVFP4", "group_size": 16, "kv_cache_quant_algo": "FP8"},
        }
    }
    return Written({}, tensors, {"a.weight": product * float(whole)}, side)


def nvfp4_turned() -> Written:
    """ModelOpt's Llama 4 and gpt-oss: experts as (in / 2, out), packed along `in`."""
    make = Maker(12)
    codes, scales = make.halves(2, 64, 10), make.positive(2, 4, 10)
    whole = np.float32(0.000138271)
    tensors = {
        "a.down_proj": raw("U8", packed(codes, axis=1)),
        "a.down_proj_weight_scale": raw("F8_E4M3", scales),
        "a.down_proj_weight_scale_2": raw("F32", whole),
    }
    product = e2m1(codes) * spread(e4m3(scales), (16, 1), (2, 64, 10))
    return Written(MODELOPT, tensors, {"a.down_proj": product * float(whole)})


def nvfp4_halves() -> Written:
    """Muse Spark: a second scale for each expert's gate and up."""
    make = Maker(13)
    codes, scales, product = _nvfp4(make, 2, 12, 32)
    whole = make.scales(2, 2)
    tensors = {
        "a.gate_up_proj": raw("U8", packed(codes)),
        "a.gate_up_proj_weight_scale": raw("F8_E4M3", scales),
        "a.gate_up_proj_weight_scale_2": raw("F32", whole),
    }
    weight = product * whole.astype(float).repeat(6, axis=1)[:, :, None]
    return Written(MODELOPT, tensors, {"a.gate_up_proj": weight})


def deepseek_v4() -> Written:
    """Experts in MXFP4, as bytes or by the type's name, beside 8-bit floats, whose scales are called `scale`."""
    make, tensors, weights = Maker(14), {}, {}
    for name, kind in (("experts.0.w1", "I8"), ("experts.1.w1", "F4")):
        codes, powers = make.halves(24, 64), make.powers(24, 2)
        stored = packed(codes)
        tensors[f"{name}.weight"] = (kind, (24, 64) if kind == "F4" else stored.shape, stored.tobytes())
        tensors[f"{name}.scale"] = raw("F8_E8M0", powers)
        weights[f"{name}.weight"] = e2m1(codes) * spread(e8m0(powers), (1, 32), (24, 64))
    codes, powers = make.bytes(200, 256), make.powers(2, 2)
    tensors["attn.wq_a.weight"], tensors["attn.wq_a.scale"] = raw("F8_E4M3", codes), raw("F8_E8M0", powers)
    weights["attn.wq_a.weight"] = e4m3(codes) * spread(e8m0(powers), (128, 128), (200, 256))
    return Written({**DEEPSEEK, "scale_fmt": "ue8m0"}, tensors, weights)


def fp8_modelopt_blocks() -> Written:
    """ModelOpt's blocks of 128 x 128, whose scales have sides of one, and a group size beside them."""
    make = Maker(15)
    codes, scales = make.bytes(256, 384), make.scales(2, 3)
    tensors = {"a.weight": raw("F8_E4M3", codes), "a.weight_scale": raw("F32", scales.reshape(2, 1, 3, 1))}
    block: dict[str, object] = {"quant_method": "modelopt", "quant_algo": "FP8_PB_WO", "group_size": 128}
    return Written(block, tensors, {"a.weight": e4m3(codes) * spread(scales.astype(float), (128, 128), (256, 384))})


FORMS = (
    fp8_blocks,
    fp8_unsaid,
    fp8_rows,
    fp8_tensor,
    fp8_e5m2,
    fp8_powers,
    fp8_experts,
    fp8_fbgemm,
    fp8_compressed_blocks,
    fp8_modelopt_blocks,
    gpt_oss,
    mxfp4_compressed,
    nvfp4_compressed,
    nvfp4_modelopt,
    nvfp4_turned,
    nvfp4_halves,
    deepseek_v4,
)
