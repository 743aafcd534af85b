"""Sources in small floats go the whole way: what is converted is, byte for byte, what their plain twin becomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what was written is read by it
import numpy as np
import pytest
from numpy.typing import NDArray

import packed_floats
from models import make_model
from packed_floats import DEEPSEEK, POWERS, Maker, compressed, spread
from pipeline import User
from small_floats import Raw, e2m1, e4m3, e5m2, e8m0, packed, raw, write_raw
from tensor_file import bfloat16, float32, read_tensors, write_tensors

Weight = NDArray[np.float64]
Form = Callable[[Maker, str, tuple[int, ...]], tuple[dict[str, Raw], Weight]]
"""Makes a weight of a name and a shape: its tensors and what they stand for. About as large as trained ones are."""


def fp8_blocks(make: Maker, name: str, shape: tuple[int, ...]) -> tuple[dict[str, Raw], Weight]:
    """Blocks of 128 x 128, which the weights are too small to fill."""
    codes, scales = make.bytes(*shape), make.scales(-(-shape[0] // 128), -(-shape[1] // 128))
    weight = e4m3(codes) * spread(scales.astype(float), (128, 128), shape)
    return {name: raw("F8_E4M3", codes), f"{name}_scale_inv": raw("F32", scales)}, weight


def fp8_tensor(make: Maker, name: str, shape: tuple[int, ...]) -> tuple[dict[str, Raw], Weight]:
    """One scale in bfloat16 and one for what goes in, as Ministral 3: mlx-lm multiplies the bytes themselves."""
    codes, scale = make.bytes(*shape), bfloat16(make.scales(1))
    of_input = raw("BF16", bfloat16(np.ones(1, np.float32)))
    tensors = {name: raw("F8_E4M3", codes), f"{name}_scale_inv": ("BF16", (), scale.tobytes())}
    activation = f"{name.removesuffix('weight')}activation_scale"
    return {**tensors, activation: of_input}, e4m3(codes) * float(float32(scale)[0])


def fp8_e5m2(make: Maker, name: str, shape: tuple[int, ...]) -> tuple[dict[str, Raw], Weight]:
    """A type for which MLX refuses the whole file."""
    codes = np.bitwise_and(make.bytes(*shape, nan=0x7C), np.uint8(0xBF))
    scales = make.scales(shape[0], 1) * np.float32(10)
    return {name: raw("F8_E5M2", codes), f"{name}_scale": raw("F32", scales)}, e5m2(codes) * scales.astype(float)


def mxfp8(make: Maker, name: str, shape: tuple[int, ...]) -> tuple[dict[str, Raw], Weight]:
    """Tiles of 32 x 32 with powers of two."""
    codes, powers = make.bytes(*shape), make.random.integers(115, 119, (shape[0] // 32, shape[1] // 32), dtype=np.uint8)
    tensors = {name: raw("F8_E4M3", codes), f"{name}_scale_inv": raw("F8_E8M0", powers)}
    return tensors, e4m3(codes) * spread(e8m0(powers), (32, 32), shape)


def mxfp4(make: Maker, name: str, shape: tuple[int, ...]) -> tuple[dict[str, Raw], Weight]:
    """compressed-tensors."""
    codes, powers = make.halves(*shape), make.random.integers(121, 125, (shape[0], shape[1] // 32), dtype=np.uint8)
    tensors = {f"{name}_packed": raw("U8", packed(codes)), f"{name}_scale": raw("U8", powers)}
    return tensors, e2m1(codes) * spread(e8m0(powers), (1, 32), shape)


def nvfp4(make: Maker, name: str, shape: tuple[int, ...]) -> tuple[dict[str, Raw], Weight]:
    """ModelOpt."""
    codes, scales = make.halves(*shape), make.random.integers(0x40, 0x7E, (shape[0], shape[1] // 16), dtype=np.uint8)
    whole = np.float32(0.000321)
    tensors = {
        name: raw("U8", packed(codes)),
        f"{name}_scale": raw("F8_E4M3", scales),
        f"{name}_scale_2": raw("F32", whole),
        f"{name.removesuffix('weight')}input_scale": raw("F32", whole),
    }
    return tensors, e2m1(codes) * spread(e4m3(scales), (1, 16), shape) * float(whole)


def nvfp4_divided(make: Maker, name: str, shape: tuple[int, ...]) -> tuple[dict[str, Raw], Weight]:
    """compressed-tensors."""
    tensors, _ = nvfp4(make, name, shape)
    codes = np.frombuffer(tensors[name][2], np.uint8).reshape(shape[0], -1)
    values = e2m1(np.stack([codes & 15, codes >> 4], axis=-1).reshape(shape).astype(np.uint8))
    scales = np.frombuffer(tensors[f"{name}_scale"][2], np.uint8).reshape(shape[0], -1)
    whole = np.array([3115.7], np.float32)
    kept = {f"{name}_packed": tensors[name], f"{name}_scale": tensors[f"{name}_scale"]}
    weight = values * spread(e4m3(scales), (1, 16), shape) / float(whole[0])
    return {**kept, f"{name}_global_scale": raw("F32", whole)}, weight


BLOCKS: Mapping[str, tuple[Form, dict[str, object]]] = {
    "fp8-blocks": (fp8_blocks, DEEPSEEK),
    "fp8-tensor": (fp8_tensor, {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None}),
    "fp8-e5m2": (fp8_e5m2, {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}),
    "mxfp8": (mxfp8, POWERS),
    "mxfp4": (mxfp4, compressed("mxfp4-pack-quantized", num_bits=4, type="float", group_size=32)),
    "nvfp4": (nvfp4, packed_floats.MODELOPT),
    "nvfp4-divided": (nvfp4_divided, compressed("nvfp4-pack-quantized", num_bits=4, type="float", group_size=16)),
}


def twins(folder: Path, form: Form, block: dict[str, object], arch: str = "llama") -> tuple[Path, Path]:
    """Make a model whose layers are in a form, and the same model in bfloat16."""
    quantized, plain = folder / "quantized" / "m", folder / "plain" / "m"
    for path in (quantized, plain):
        path.parent.mkdir()
        make_model(path, arch, tie=arch == "llama")
    tensors, make = read_tensors(plain / "model.safetensors"), Maker(21)
    written: dict[str, Raw] = {}
    for name, array in tensors.items():
        if name.endswith("_proj.weight"):
            parts, weight = form(make, name, array.shape)
            written.update(parts)
            tensors[name] = bfloat16(weight.astype(np.float32))
        else:
            written[name] = raw("BF16", array)
    write_raw(quantized / "model.safetensors", written)
    write_tensors(plain / "model.safetensors", tensors)
    config: dict[str, Any] = json.loads((quantized / "config.json").read_text())
    (quantized / "config.json").write_text(json.dumps({**config, "quantization_config": block}))
    return quantized, plain


def converted(user: User, sources: Sequence[Path], variants: str) -> list[list[Path]]:
    """The weights of each variant of sources, by variant."""
    names = variants.split(",")
    for source in sources:
        user.run("convert", "--source", source, "--variants", variants, "--work", source.parent / "work")
    return [[source.parent / f"work/m/{name}/model/model.safetensors" for source in sources] for name in names]


@pytest.mark.parametrize(("form", "block"), BLOCKS.values(), ids=BLOCKS)
def test_a_source_in_small_floats_becomes_what_its_plain_twin_becomes(
    form: Form, block: dict[str, object], tmp_path: Path, user: User
) -> None:
    for one, other in converted(user, twins(tmp_path, form, block), "bf16,4bit"):
        assert one.read_bytes() == other.read_bytes(), one.parent.parent.name


def test_experts_and_latent_attention_in_fp8_are_read_before_the_class_computes_with_them(
    tmp_path: Path, user: User
) -> None:
    [[one, other]] = converted(user, twins(tmp_path, fp8_blocks, DEEPSEEK, "deepseek_v3"), "bf16")
    assert one.read_bytes() == other.read_bytes()


GPT_OSS: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "torch_dtype": "bfloat16",
    "hidden_size": 64,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "full_attention"],
    "rms_norm_eps": 1e-5,
    "rope_theta": 150000,
    "max_position_embeddings": 4096,
    "attention_bias": True,
    "tie_word_embeddings": False,
}


def gpt_oss_shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a model of GPT_OSS, without the matrices of its experts."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, 64),
        "lm_head.weight": (vocabulary, 64),
        "model.norm.weight": (64,),
    }
    for number in range(2):
        layer = f"model.layers.{number}"
        for name, (out, into) in {"q": (128, 64), "k": (64, 64), "v": (64, 64), "o": (64, 128)}.items():
            shapes[f"{layer}.self_attn.{name}_proj.weight"] = (out, into)
            shapes[f"{layer}.self_attn.{name}_proj.bias"] = (out,)
        shapes[f"{layer}.self_attn.sinks"] = (4,)
        shapes[f"{layer}.mlp.router.weight"], shapes[f"{layer}.mlp.router.bias"] = (4, 64), (4,)
        shapes[f"{layer}.mlp.experts.gate_up_proj_bias"] = (4, 64)
        shapes[f"{layer}.mlp.experts.down_proj_bias"] = (4, 64)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{layer}.{name}.weight"] = (64,)
    return shapes


def gpt_oss(folder: Path) -> tuple[Path, Path]:
    """Make a gpt-oss as its makers publish it, and as a fine-tune of it is saved: experts as (experts, in, out)."""
    sources = folder / "quantized" / "m", folder / "plain" / "m"
    for path in sources:
        path.parent.mkdir()
        make_model(path)
    config: dict[str, Any] = json.loads((sources[0] / "config.json").read_text())
    kept = {key: config[key] for key in ("vocab_size", "eos_token_id", "bos_token_id", "pad_token_id") if key in config}
    make = Maker(22)
    plain: dict[str, NDArray[Any]] = {
        name: bfloat16((make.random.normal(0, 0.1, shape) + ("norm" in name)).astype(np.float32))
        for name, shape in gpt_oss_shapes(config["vocab_size"]).items()
    }
    written = {name: raw("BF16", array) for name, array in plain.items()}
    for number in range(2):
        for kind, columns in (("gate_up_proj", 64), ("down_proj", 32)):
            name = f"model.layers.{number}.mlp.experts.{kind}"
            codes, powers = make.halves(4, 64, columns), make.powers(4, 64, columns // 32) - np.uint8(5)
            written[f"{name}_blocks"] = raw("U8", packed(codes).reshape(4, 64, columns // 32, 16))
            written[f"{name}_scales"] = raw("U8", powers)
            values = e2m1(codes) * spread(e8m0(powers), (1, 32), codes.shape)
            plain[name] = bfloat16(np.ascontiguousarray(values.transpose(0, 2, 1)).astype(np.float32))
    write_raw(sources[0] / "model.safetensors", written)
    write_tensors(sources[1] / "model.safetensors", plain)
    block = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    (sources[0] / "config.json").write_text(json.dumps({**GPT_OSS, **kept, "quantization_config": block}))
    (sources[1] / "config.json").write_text(json.dumps({**GPT_OSS, **kept}))
    return sources


def test_gpt_oss_in_its_makers_blocks_becomes_what_a_fine_tune_in_bfloat16_becomes(tmp_path: Path, user: User) -> None:
    sources = gpt_oss(tmp_path)
    (bf16, four) = converted(user, sources, "bf16,mxfp4")
    assert bf16[0].read_bytes() == bf16[1].read_bytes()
    # The experts keep the blocks of the source, to the last bit; rounding them anew chooses other scales.
    made: Any = mx.load(str(four[0]))
    source: Any = mx.load(str(sources[0] / "model.safetensors"))
    for number in range(2):
        experts = f"model.layers.{number}.mlp.experts"
        blocks, scales = source[f"{experts}.gate_up_proj_blocks"], source[f"{experts}.gate_up_proj_scales"]
        for at, name in enumerate(("gate_proj", "up_proj")):
            codes = np.array(made[f"{experts}.{name}.weight"].view(mx.uint8))
            np.testing.assert_array_equal(codes, np.array(blocks[:, at::2]).reshape(codes.shape))
            np.testing.assert_array_equal(np.array(made[f"{experts}.{name}.scales"]), np.array(scales[:, at::2]))
