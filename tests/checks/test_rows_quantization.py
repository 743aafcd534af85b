"""Quantized sources, by config, by side file and by tensors; and quantization that misses layers."""

from __future__ import annotations

from typing import Any

import pytest

from headers import LAYERS, Tensors, facts, failures, find

P = "model.layers.0.mlp.up_proj"
UNREAD: Tensors = {**LAYERS, f"{P}.weight": ("I16", (64, 64))}
"""Weights of a form that nobody reads."""
GROUPS = {"group_0": {"weights": {"num_bits": 4, "type": "int"}, "targets": ["Linear"]}}


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "AWQ, 4 bits"),
        ({"quant_method": "awq", "w_bit": 4}, "AWQ, 4 bits"),
        ({"quant_method": "gptq", "bits": 8}, "GPTQ, 8 bits"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}, "bitsandbytes, 4 bits"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bits"),
        ({"quant_method": "compressed-tensors", "config_groups": GROUPS}, "compressed-tensors, 4 bits"),
        ({"config_groups": GROUPS}, "compressed-tensors, 4 bits"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8, 8 bits"),
        ({"quant_method": "fbgemm_fp8"}, "FBGEMM, 8 bits"),
        ({"quant_method": "mxfp4"}, "mxfp4, 4 bits"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "ModelOpt NVFP4, 4 bits"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "ModelOpt FP8, 8 bits"),
        ({"quant_method": "bitnet"}, "BitNet, 1.58 bits"),
        ({"quant_method": "something-new", "nbits": 3}, "something-new, 3 bits"),
        ({"odd": 1}, "an unknown method"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_block_of_config_is_named(block: dict[str, Any], words: str, nested: bool) -> None:
    config = {"quantization_config": block}
    source = facts(config={"text_config": config} if nested else config, tensors=UNREAD)
    assert failures(source) == ["unquantized"]
    assert words in find("unquantized", source).message
    assert "the bits in its name" in find("unquantized", source).message


@pytest.mark.parametrize("key", ["quantization", "quantization_config", "compression_config"])
def test_an_empty_block_says_nothing(key: str) -> None:
    assert failures(facts(config={key: {}})) == []
    assert failures(facts(config={"text_config": {key: {}}})) == []


def test_a_quantization_of_mlx_is_named() -> None:
    source = facts(config={"quantization": {"bits": 4, "group_size": 64}})
    assert "(MLX, 4 bits, according to quantization of config.json)" in find("unquantized", source).message


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 128, "desc_act": True}, "GPTQ, 4 bits"),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 128}, "AWQ, 4 bits"),
        ("hf_quant_config.json", {"producer": {}, "quantization": {"quant_algo": "NVFP4"}}, "ModelOpt NVFP4, 4 bits"),
        ("hf_quant_config.json", {"quant_algo": "FP8"}, "ModelOpt FP8, 8 bits"),
    ],
)
def test_a_file_beside_it_is_named(path: str, content: dict[str, Any], words: str) -> None:
    source = facts({path: content}, tensors=UNREAD)
    assert failures(source) == ["unquantized"]
    assert f"({words}, according to {path})" in find("unquantized", source).message


def test_a_cache_that_was_quantized_is_no_quantized_model() -> None:
    assert failures(facts({"hf_quant_config.json": {"quantization": {"kv_cache_quant_algo": "FP8"}}})) == []
    assert failures(facts(config={"quantization_config": None})) == []


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({f"{P}.qzeros": ("I32", (16, 64))}, "AWQ or GPTQ"),
        ({f"{P}.weight": ("U8", (2048, 1)), f"{P}.weight.absmax": ("F32", (64,))}, "bitsandbytes, 4 bits"),
        ({f"{P}.weight.quant_state.bitsandbytes__nf4": ("U8", (9,))}, "bitsandbytes, 4 bits"),
        ({f"{P}.SCB": ("F32", (64,)), f"{P}.weight": ("I8", (64, 64))}, "bitsandbytes, 8 bits"),
        ({f"{P}.weight_packed": ("I32", (64, 8)), f"{P}.weight_scale": ("BF16", (64, 1))}, "compressed-tensors"),
        (
            {f"{P}.weight_packed": ("U8", (64, 32)), f"{P}.weight_global_scale": ("F32", (1,))},
            "compressed-tensors nvfp4, 4 bits",
        ),
        ({f"{P}.weight": ("F8_E4M3", (64, 64)), f"{P}.weight_scale": ("I32", (1, 1))}, "fp8, 8 bits"),
        ({f"{P}.weight": ("F8_E4M3", (64, 64))}, "fp8 without its scales, 8 bits"),
        ({f"{P}_blocks": ("U8", (2, 64, 2, 16)), f"{P}_scales": ("U8", (2, 64, 2))}, "mxfp4, 4 bits"),
        ({f"{P}.weight": ("U32", (64, 8)), f"{P}.scales": ("BF16", (64, 1))}, "MLX"),
        ({f"{P}.weight": ("I8", (64, 64)), f"{P}.weight_scale_2": ("BF16", (64, 1))}, "I8 in place of numbers"),
        ({f"{P}.weight": ("U8", (64, 64))}, "U8 in place of numbers, without their scales"),
        ({f"{P}.weight": ("BF16", (64, 64)), f"{P}.weight_scale_inv": ("F32", (1, 1))}, "scales beside BF16 weights"),
        ({f"{P}.W_q": ("U8", (64, 64))}, "HQQ"),
    ],
)
def test_tensors_give_it_away_where_no_config_says_so(tensors: Tensors, words: str) -> None:
    source = facts(tensors={**LAYERS, **tensors})
    assert "weights-numbers" in failures(source)
    assert f"({words}" in find("weights-numbers", source).message


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({f"{P}.weight": ("F8_E4M3", (64, 64)), f"{P}.weight_scale_inv": ("F32", (1, 1))}, "fp8, 8 bits"),
        ({f"{P}.weight": ("F8_E5M2", (64, 64)), f"{P}.weight_scale": ("F32", ())}, "fp8, 8 bits"),
        (
            {
                f"{P}.weight": ("U8", (64, 32)),
                f"{P}.weight_scale": ("F8_E4M3", (64, 4)),
                f"{P}.weight_scale_2": ("F32", ()),
            },
            "nvfp4, 4 bits",
        ),
    ],
)
def test_weights_of_a_form_that_is_read_pass_though_no_config_names_it(tensors: Tensors, words: str) -> None:
    source = facts(tensors={**LAYERS, **tensors})
    assert failures(source) == []
    assert find("weights-numbers", source).message == (
        f"the source is quantized ({words}, according to {P}.weight); its weights are read exactly"
    )


@pytest.mark.parametrize(
    ("block", "side"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, {}),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "_load_in_4bit": True}, {}),
        ({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, {}),
        ({"quant_method": "compressed-tensors", "config_groups": GROUPS, "format": "pack-quantized"}, {}),
        ({"config_groups": GROUPS}, {}),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, {}),
        ({}, {"hf_quant_config.json": {"producer": {}, "quantization": {"quant_algo": "NVFP4"}}}),
        ({}, {"quantize_config.json": {"bits": 4, "group_size": 128, "desc_act": True}}),
        ({}, {"quant_config.json": {"w_bit": 4, "q_group_size": 128}}),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_config_left_over_on_plain_weights_is_told_and_not_refused(
    block: dict[str, Any], side: dict[str, Any], nested: bool
) -> None:
    config = {"quantization_config": block}
    source = facts(side, config={"text_config": config} if nested else config)
    assert failures(source) == []
    found = find("unquantized", source)
    assert found.status == "warn"
    assert "all weights are plain numbers" in found.message


@pytest.mark.parametrize(
    ("config", "tensors"),
    [
        ({"quantization_config": {"quant_method": "bitnet", "quantization_mode": "online"}}, {}),
        ({"quantization_config": {"quant_method": "something-new", "bits": 3}}, {}),
        ({"quantization_config": {"bits": 4, "group_size": 64}}, {}),
        ({"quantization_config": {"quant_method": "fp8"}, "quantization": {"bits": 4}}, {}),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "transform_config": {"config_groups": {"R1": {"type": "hadamard"}}},
                }
            },
            {},
        ),
        ({"quantization_config": {"quant_method": "fp8"}}, {f"{P}.weight": ("U8", (64, 64))}),
        (
            {"quantization_config": {"quant_method": "fp8"}},
            {f"{P}.weight": ("BF16", (64, 64)), f"{P}.weight_scale_inv": ("F32", (1, 1))},
        ),
    ],
)
def test_a_config_that_may_still_mean_something_is_refused(config: dict[str, Any], tensors: Tensors) -> None:
    assert "unquantized" in failures(facts(config=config, tensors={**LAYERS, **tensors}))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            {f"{P}.qweight": ("I32", (8, 64)), f"{P}.qzeros": ("I32", (1, 8)), f"{P}.scales": ("F16", (1, 64))},
            "GPTQ, 4 bits",
        ),
        (
            {f"{P}.qweight": ("I32", (64, 8)), f"{P}.qzeros": ("I32", (1, 8)), f"{P}.scales": ("F16", (1, 64))},
            "AWQ, 4 bits",
        ),
        (
            {
                f"{P}.qweight": ("I32", (16, 64)),
                f"{P}.qzeros": ("I32", (1, 16)),
                f"{P}.scales": ("F16", (1, 64)),
                f"{P}.g_idx": ("I32", (64,)),
            },
            "GPTQ, 8 bits",
        ),
        ({f"{P}.weight": ("I8", (64, 64)), f"{P}.weight_scale": ("BF16", (64, 1))}, "I8 in place of numbers"),
    ],
)
def test_integers_with_all_that_they_need_are_read_where_no_config_says_so(tensors: Tensors, words: str) -> None:
    source = facts(tensors={**LAYERS, **tensors})
    assert failures(source) == []
    assert words in find("weights-numbers", source).message


def test_integers_without_their_scales_are_refused_by_name() -> None:
    source = facts(tensors={**LAYERS, f"{P}.qweight": ("I32", (16, 64))})
    assert "weights-numbers" in failures(source)
    assert f"{P}.qweight: has no {P}.scales beside it" in find("weights-numbers", source).message


def test_masks_and_positions_are_no_weights() -> None:
    more: Tensors = {"h.0.attn.bias": ("U8", (1, 1, 8, 8)), "position_ids": ("I64", (1, 8)), "a.mask": ("BOOL", (8, 8))}
    assert failures(facts(tensors={**LAYERS, **more})) == []


@pytest.mark.parametrize(
    ("name", "card", "remedy"),
    [
        ("quants/Tiny-AWQ", "base_model: acme/Tiny\n", "made from: acme/Tiny."),
        ("quants/Tiny-AWQ", "base_model: [acme/Tiny]\nbase_model_relation: quantized\n", "made from: acme/Tiny."),
        ("quants/Tiny-AWQ", "base_model: meta/Big\nbase_model_relation: finetune\n", "by its name, probably Tiny."),
        ("quants/Tiny-AWQ", "base_model: quants/Tiny-AWQ\n", "by its name, probably Tiny."),
        ("quants/Tiny-2-GPTQ-Int4", "", "by its name, probably Tiny-2."),
        ("unsloth/Tiny-7B-unsloth-bnb-4bit", "", "by its name, probably Tiny-7B."),
        ("quants/Tiny-FP8-dynamic", "", "by its name, probably Tiny."),
        ("quants/Tiny-4bit-MLX", "", "by its name, probably Tiny."),
        ("quants/Tiny-quantized.w4a16", "", "by its name, probably Tiny."),
        ("quants/Tiny", "", "made from."),
    ],
)
def test_the_base_model_is_named(name: str, card: str, remedy: str) -> None:
    readme = f"---\nlicense: mit\n{card}---\n".encode()
    source = facts({"README.md": readme}, config={"quantization_config": {"quant_method": "quanto"}}, name=name)
    assert find("unquantized", source).remedy.endswith(remedy)


def layer(columns: int, *more: tuple[str, tuple[int, ...]]) -> Tensors:
    named: Tensors = {"model.embed_tokens.weight": ("BF16", (128, 64)), "x.weight": ("BF16", (64, columns))}
    return {**named, **{name: ("BF16", shape) for name, shape in more}}


@pytest.mark.parametrize(
    ("columns", "variant", "remedy"),
    [
        (96, {"bits": 4}, "Take group size 32."),
        (64, {"bits": 4, "group_size": 128}, "Take group size 64."),
        (144, {"bits": 4}, "Take mode nvfp4, with groups of 16."),
        (144, {"bits": 4, "method": "dwq"}, "Take mode nvfp4, with groups of 16, without method."),
        (100, {"bits": 4}, "Leave it unquantized"),
        (144, {"mode": "mxfp4"}, "Take mode nvfp4"),
        (96, {"mixed": "mixed_3_6"}, "Take group size 32."),
    ],
)
def test_groups_that_miss_the_layers(columns: int, variant: dict[str, Any], remedy: str) -> None:
    source = facts(tensors=layer(columns), variants=[variant])
    finding = find("groups-fit", source)
    assert failures(source) == ["groups-fit"]
    assert "of the weights would stay unquantized" in finding.message
    assert finding.remedy.startswith(remedy)


def test_little_that_is_missed_is_told() -> None:
    source = facts(tensors=layer(64, ("dt_proj.weight", (4, 10))))
    finding = find("groups-fit", source)
    assert (finding.status, failures(source)) == ("warn", [])
    assert "dt_proj.weight [4, 10]" in finding.message
    assert finding.details["layers"] == ["dt_proj.weight"]


@pytest.mark.parametrize(
    "tensors",
    [
        layer(64, ("vision_tower.x.weight", (64, 4304))),
        layer(64, ("conv1d.weight", (640, 1, 4))),
        layer(64, ("model.layers.0.mlp.experts.gate_up_proj", (2, 64, 144))),
        layer(64, ("A_log", (512, 16))),
    ],
)
def test_what_is_no_linear_layer_is_left_out(tensors: Tensors) -> None:
    assert find("groups-fit", facts(tensors=tensors)).status == "pass"


def test_experts_that_fit_neither_way_are_missed() -> None:
    source = facts(tensors=layer(64, ("model.layers.0.mlp.experts.gate_up_proj", (2, 100, 144))))
    assert failures(source) == ["groups-fit"]


def test_gpt2_keeps_its_layers_turned() -> None:
    tensors = layer(64, ("h.0.attn.c_attn.weight", (64, 200)))
    assert failures(facts(tensors=tensors)) == ["groups-fit"]
    assert failures(facts(tensors=tensors, config={"model_type": "gpt2"})) == []


def test_an_unquantized_variant_has_no_groups() -> None:
    assert find("groups-fit", facts(tensors=layer(100), variants=["bf16"])).message == "nothing is to be quantized"
