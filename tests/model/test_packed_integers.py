"""What headers and config say of weights in integers: found, or refused naming the tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mlx_publish.errors import Refused
from mlx_publish.model.packed import Packing, packing_of
from mlx_publish.model.weights import DTYPE_BITS, TensorInfo
from packed_sources import AWQ, GPTQ, ROUND, V2, ct

Shapes = dict[str, tuple[str, tuple[int, ...]]]
STEM = "model.layers.0.mlp.up_proj"
OF_GPTQ: Shapes = {
    "qweight": ("I32", (12, 64)),
    "qzeros": ("I32", (3, 8)),
    "scales": ("F16", (3, 64)),
    "g_idx": ("I32", (96,)),
}
OF_AWQ: Shapes = {"qweight": ("I32", (96, 8)), "qzeros": ("I32", (3, 8)), "scales": ("F16", (3, 64))}
OF_GEMV: Shapes = {"qweight": ("I32", (64, 12)), "qzeros": ("I32", (64, 4)), "scales": ("F16", (64, 32))}
OF_COMPRESSED: Shapes = {
    "weight_packed": ("I32", (40, 12)),
    "weight_scale": ("BF16", (40, 3)),
    "weight_shape": ("I64", (2,)),
}
ZEROS: Shapes = {"weight_zero_point": ("I32", (5, 3))}
OF_BYTES: Shapes = {"weight": ("I8", (40, 96)), "weight_scale": ("BF16", (40, 1))}
OF_BITNET: Shapes = {"weight": ("U8", (16, 96)), "weight_scale": ("BF16", (1,))}
BITNET = {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]}


def tensors(shapes: Shapes, stem: str = STEM) -> list[TensorInfo]:
    """Tensors of a layer."""
    made = []
    for end, (dtype, shape) in shapes.items():
        tensor = TensorInfo(f"{stem}.{end}", dtype, shape, 0)
        made.append(TensorInfo(tensor.name, dtype, shape, tensor.size * DTYPE_BITS[dtype] // 8))
    return made


def found(shapes: Shapes, block: Mapping[str, Any], **config: Any) -> Packing | None:
    """What is found of one layer."""
    whole = {"model_type": "llama", **config} | ({"quantization_config": block} if block else {})
    return packing_of(whole, {}, tensors(shapes), "bfloat16")


@pytest.mark.parametrize(
    ("shapes", "block", "form", "shape", "bits", "group"),
    [
        (OF_GPTQ, GPTQ, "gptq", (64, 96), 4, 32),
        (OF_GPTQ, V2, "gptq", (64, 96), 4, 32),
        (OF_GPTQ, {}, "gptq", (64, 96), 4, 32),
        (OF_GPTQ, ROUND, "gptq", (64, 96), 4, 32),
        (OF_GPTQ | {"g_idx": ("I32", (0,))}, GPTQ, "gptq", (64, 96), 4, 32),
        (OF_AWQ, AWQ, "awq", (64, 96), 4, 32),
        (OF_AWQ, {"w_bit": 4, "q_group_size": 32, "version": "GEMM"}, "awq", (64, 96), 4, 32),
        (OF_AWQ, {}, "awq", (64, 96), 4, 32),
        (OF_AWQ, ROUND | {"packing_format": "auto_round:auto_awq"}, "awq", (64, 96), 4, 32),
        (OF_GEMV, AWQ | {"version": "GEMV"}, "awq-gemv", (64, 96), 4, 32),
        (OF_COMPRESSED, ct(), "packed-rows", (40, 96), 4, 32),
        (OF_COMPRESSED | ZEROS, ct(symmetric=False), "packed-rows", (40, 96), 4, 32),
        (OF_BYTES, ct(8, None), "integer-rows", (40, 96), 8, 0),
        (OF_BYTES, {}, "integer-rows", (40, 96), 8, 0),
        (OF_BITNET, BITNET, "bitnet", (64, 96), 2, 0),
    ],
)
def test_a_weight_is_found_with_its_shape_bits_and_groups(
    shapes: Shapes, block: Mapping[str, Any], form: str, shape: tuple[int, int], bits: int, group: int
) -> None:
    packing = found(shapes, block)
    assert packing is not None
    (weight,) = packing.weights
    assert (weight.name, weight.form) == (f"{STEM}.weight", form)
    assert (tuple(weight.shape), weight.bits, weight.block[1]) == (shape, bits, group)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in packing.tensors(tensors(shapes))] in (
        [(f"{STEM}.weight", "BF16", shape)],
        [(f"{STEM}.g_idx", "I32", (0,)), (f"{STEM}.weight", "BF16", shape)],
    )


@pytest.mark.parametrize(
    ("shapes", "block", "place", "words"),
    [
        # parts that are missing
        ({"qweight": OF_GPTQ["qweight"]}, GPTQ, "qweight", "has no .*scales beside it"),
        ({key: OF_GPTQ[key] for key in ("qweight", "scales")}, GPTQ, "qweight", "has no qzeros beside it"),
        ({key: OF_AWQ[key] for key in ("qweight", "scales")}, AWQ, "qweight", "has no qzeros beside it"),
        ({key: OF_GPTQ[key] for key in OF_GPTQ if key != "g_idx"}, GPTQ | {"desc_act": True}, "qweight", "no g_idx"),
        ({"weight_packed": OF_COMPRESSED["weight_packed"]}, ct(), "weight_packed", "has no .*weight_scale beside"),
        (OF_COMPRESSED, ct(symmetric=False), "weight_scale", "has no weight_zero_point beside it"),
        ({"weight": OF_BITNET["weight"]}, BITNET, "weight", "has no .*weight_scale beside"),
        # types
        (OF_GPTQ | {"qweight": ("I64", (6, 64))}, GPTQ, "qweight", "holds words of I64"),
        (OF_AWQ | {"qweight": ("I16", (96, 16))}, AWQ, "qweight", "holds words of I16"),
        (OF_AWQ | {"qzeros": ("F16", (3, 64))}, AWQ, "qzeros", "holds words of F16"),
        (OF_AWQ | {"scales": ("I32", (3, 64))}, AWQ, "scales", "holds scales in I32"),
        (OF_COMPRESSED | {"weight_scale": ("I8", (40, 3))}, ct(), "weight_scale", "holds scales in I8"),
        (OF_COMPRESSED | {"weight_packed": ("I64", (40, 6))}, ct(), "weight_packed", "holds words of I64"),
        (OF_GPTQ | {"g_idx": ("F16", (96,))}, GPTQ, "g_idx", r"is F16 \[96\]"),
        (OF_COMPRESSED | {"weight_shape": ("F32", (2,))}, ct(), "weight_shape", "is F32"),
        # shapes
        (OF_GPTQ | {"qweight": ("I32", (12, 65))}, GPTQ, "qweight", "neither as GPTQ nor as AWQ packs"),
        (OF_GPTQ | {"qweight": ("I32", (768,))}, GPTQ, "qweight", "have two sides"),
        (OF_GPTQ | {"qzeros": ("I32", (3, 7))}, GPTQ, "qzeros", "does not fit 4 bits"),
        (OF_GPTQ | {"qzeros": ("I32", (2, 8))}, GPTQ, "qzeros", r"ask for \[3, 8\]"),
        (OF_AWQ | {"qzeros": ("I32", (3, 9))}, AWQ, "qzeros", r"ask for \[3, 8\]"),
        (OF_GPTQ | {"g_idx": ("I32", (95,))}, GPTQ, "g_idx", "has 96 columns of 4 bits"),
        (OF_COMPRESSED | {"weight_packed": ("I32", (40, 13))}, ct(), "weight_packed", "none of the schemes"),
        (OF_COMPRESSED | {"weight_scale": ("BF16", (39, 3))}, ct(), "weight_scale", "does not fit 40 rows of 96"),
        (OF_COMPRESSED | {"weight_zero_point": ("I32", (4, 3))}, ct(symmetric=False), "weight_packed", "none of"),
        (OF_COMPRESSED | {"weight_zero_point": ("I32", (5,))}, ct(symmetric=False), "weight_packed", "none of"),
        (OF_COMPRESSED | {"weight_scale": ("BF16", ())}, ct(), "weight_packed", "none of the schemes"),
        (OF_GPTQ | {"scales": ("F16", ())}, GPTQ, "scales", "beside packed weights of"),
        (OF_GPTQ | {"scales": ("F16", (0, 64))}, GPTQ, "qzeros", r"ask for \[0, 8\]"),
        (OF_BYTES | {"weight_scale": ("BF16", (40, 7))}, ct(8, None), "weight_scale", "does not fit"),
        (OF_BITNET | {"weight_scale": ("BF16", (64,))}, BITNET, "weight_scale", "one scale for a weight"),
        # what the config says otherwise
        (OF_GPTQ, AWQ, "qweight", "packed as GPTQ, along the input, and quantization_config says AWQ"),
        (OF_AWQ, GPTQ, "qweight", "packed as AWQ, along the output, and quantization_config says GPTQ"),
        (OF_AWQ, GPTQ | {"quant_method": "auto-round"}, "qweight", "says GPTQ"),
        (OF_GPTQ, GPTQ | {"group_size": 64}, "scales", "not the group size 64"),
        (OF_GPTQ, GPTQ | {"group_size": -1}, "scales", "not the group size -1"),
        (OF_AWQ, AWQ | {"group_size": 128}, "scales", "not the group size 128"),
        (OF_COMPRESSED, ct(group=128), "weight_packed", "none of the schemes"),
        (OF_GPTQ, GPTQ | {"bits": 8}, "qzeros", "does not fit 8 bits"),
        (OF_AWQ, AWQ | {"bits": 8}, "qweight", "done at 4 bits; the config says 8"),
        (OF_COMPRESSED, ct(8), "weight_packed", "none of the schemes"),
        # orders that are not read
        (OF_AWQ, AWQ | {"version": "gemv_fast"}, "qweight", "packed as gemv_fast"),
        (OF_AWQ, AWQ | {"version": "marlin"}, "qweight", "packed as marlin"),
        (OF_GPTQ, GPTQ | {"checkpoint_format": "marlin"}, "qweight", "packed as marlin"),
        (OF_GPTQ, GPTQ | {"is_marlin_format": True}, "qweight", "packed as marlin"),
        (OF_COMPRESSED | {"meta": ("I16", (40, 2))}, ct(), "weight_packed", "marlin-24"),
        (OF_COMPRESSED, ct() | {"transform_config": {"config_groups": {"R1": {}}}}, STEM, "turns its activations"),
        (OF_BITNET, BITNET | {"use_rms_norm": True}, "weight", "use_rms_norm"),
    ],
)
def test_what_does_not_fit_is_refused_naming_the_tensor(
    shapes: Shapes, block: Mapping[str, Any], place: str, words: str
) -> None:
    with pytest.raises(Refused, match=words) as caught:
        found(shapes, block)
    assert caught.value.place.name.endswith(place)


@pytest.mark.parametrize(
    ("shapes", "block", "model_type", "words"),
    [
        (OF_BITNET, BITNET, "bitnet", "no place for plain ones"),
        (OF_GPTQ, GPTQ, "gpt2", "keeps plain weights turned"),
    ],
)
def test_a_class_that_would_take_plain_weights_for_others_is_refused(
    shapes: Shapes, block: Mapping[str, Any], model_type: str, words: str
) -> None:
    with pytest.raises(Refused, match=words):
        found(shapes, block, model_type=model_type)


def test_layers_with_settings_of_their_own_are_read_by_their_shapes() -> None:
    eight: Shapes = {"qweight": ("I32", (24, 64)), "qzeros": ("I32", (2, 16)), "scales": ("F16", (2, 64))}
    for varies in ({"dynamic": {"+:.*up": {"bits": 8}}}, {"extra_config": {STEM: {"bits": 8}}}):
        packing = found(eight, GPTQ | varies)
        assert packing is not None
        assert (packing.weights[0].bits, tuple(packing.weights[0].block)) == (8, (1, 48))


def scheme(bits: int, *targets: str) -> dict[str, Any]:
    """A group of layers whose weights have a scale a row."""
    return {"targets": list(targets), "weights": {"num_bits": bits, "type": "int", "strategy": "channel"}}


@pytest.mark.parametrize("target", [STEM, "re:.*up_proj$", r"re:model\.layers\.(0|1)\.mlp.*"])
def test_of_several_schemes_the_one_that_names_the_layer_is_taken(target: str) -> None:
    by_channel = OF_COMPRESSED | {"weight_scale": ("BF16", (40, 1))}
    groups = {"group_0": scheme(8, "re:.*down_proj$"), "group_1": scheme(4, target)}
    packing = found(by_channel, {"quant_method": "compressed-tensors", "config_groups": groups})
    assert packing is not None
    assert (packing.weights[0].bits, tuple(packing.weights[0].shape)) == (4, (40, 96))


@pytest.mark.parametrize("target", ["re:(.*)*(.*)*x", "re:(a+)+$", "re:[", "re:" + ".*" * 40, 5, None])
def test_a_pattern_that_could_take_long_is_no_target(target: object) -> None:
    by_channel = OF_COMPRESSED | {"weight_scale": ("BF16", (40, 1))}
    groups = {"group_0": scheme(8, "Linear"), "group_1": scheme(4, "Linear") | {"targets": [target]}}
    with pytest.raises(Refused, match="several of the schemes"):
        found(by_channel, {"quant_method": "compressed-tensors", "config_groups": groups})


def test_scales_of_what_goes_in_and_of_the_cache_are_left_out() -> None:
    more = OF_BYTES | {"input_scale": ("F32", (1,)), "input_zero_point": ("I8", (1,))}
    every = [*tensors(more), *tensors({"k_scale": ("F32", (1,))}, "model.layers.0.self_attn")]
    packing = packing_of({"quantization_config": ct(8, None)}, {}, every, "bfloat16")
    assert packing is not None
    assert set(packing.beside) == {
        f"{STEM}.input_scale", f"{STEM}.input_zero_point", "model.layers.0.self_attn.k_scale",
    }  # fmt: skip
    assert [tensor.name for tensor in packing.tensors(every)] == [f"{STEM}.weight"]


def test_layers_that_are_not_packed_stay_as_they_are() -> None:
    plain = TensorInfo("lm_head.weight", "F16", (320, 96), 320 * 96 * 2)
    norm = TensorInfo("model.norm.weight", "BF16", (96,), 192)
    every = [plain, norm, *tensors(OF_AWQ), *tensors({"bias": ("F16", (64,))})]
    packing = packing_of({"quantization_config": AWQ | {"modules_to_not_convert": ["lm_head"]}}, {}, every, "float16")
    assert packing is not None
    assert packing.dtype == "float16"
    assert {tensor.name for tensor in packing.tensors(every)} == {
        "lm_head.weight", "model.norm.weight", f"{STEM}.bias", f"{STEM}.weight",
    }  # fmt: skip


def test_a_block_of_the_text_part_and_a_side_file_are_read() -> None:
    nested = {"model_type": "llava", "text_config": {"quantization_config": GPTQ}}
    stem = "model.language_model.layers.0.mlp.up_proj"
    packing = packing_of(nested, {}, tensors(OF_GPTQ, stem), "bfloat16")
    assert packing is not None
    assert packing.weights[0].name == f"{stem}.weight"
    side = {"quantize_config.json": {"bits": 4, "group_size": 32, "desc_act": False, "sym": False}}
    packing = packing_of({"model_type": "llama"}, side, tensors(OF_GPTQ), "bfloat16")
    assert packing is not None
    assert packing.weights[0].options["zeros"] == "minus-one"


def test_bytes_of_a_method_that_is_not_known_are_left_to_the_check_that_refuses_them() -> None:
    assert found(OF_BYTES, {"quant_method": "something-new", "bits": 8}) is None
    assert found(OF_BITNET, {"quant_method": "something-new"}) is None
    assert found(OF_COMPRESSED, {}) is None
