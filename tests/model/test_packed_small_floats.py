"""A source in small floats whose parts are missing or do not fit each other is refused by the name of the tensor."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import packed_floats
from mlx_publish.errors import Refused
from mlx_publish.model.packed import Packing, packing_of
from mlx_publish.model.quantized import quantized_by_tensors
from mlx_publish.model.weights import TensorInfo
from small_floats import Written

EXPERTS = "model.layers.0.mlp.experts"


def headers(written: Written) -> list[TensorInfo]:
    return [TensorInfo(name, dtype, shape, len(data)) for name, (dtype, shape, data) in written.tensors.items()]


def found(written: Written, **block: object) -> Packing | None:
    return packing_of({"quantization_config": {**written.block, **block}}, written.side, headers(written), "bfloat16")


def reshaped(written: Written, name: str, *shape: int, dtype: str | None = None) -> Written:
    kind, _, data = written.tensors[name]
    written.tensors[name] = (dtype or kind, shape, data)
    return written


def without(written: Written, name: str) -> Written:
    del written.tensors[name]
    return written


REFUSED: tuple[tuple[str, Callable[[], Packing | None], str], ...] = (
    (
        "truncated scale",
        lambda: found(reshaped(packed_floats.fp8_blocks(), "a.weight_scale_inv", 2, 2)),
        "a.weight_scale_inv",
    ),
    (
        "turned scale",
        lambda: found(reshaped(packed_floats.fp8_blocks(), "a.weight_scale_inv", 3, 2)),
        "a.weight_scale_inv",
    ),
    ("another block", lambda: found(packed_floats.fp8_blocks(), weight_block_size=[64, 64]), "a.weight_scale_inv"),
    ("turned weight", lambda: found(reshaped(packed_floats.fp8_blocks(), "a.weight", 300, 200)), "a.weight_scale_inv"),
    ("rows of another", lambda: found(reshaped(packed_floats.fp8_rows(), "a.weight_scale", 23, 1)), "a.weight_scale"),
    (
        "experts of another",
        lambda: found(reshaped(packed_floats.fp8_experts(), "b.gate_up_proj_scale_inv", 4)),
        "b.gate_up_proj_scale_inv",
    ),
    (
        "scales of nobody",
        lambda: found(without(packed_floats.gpt_oss(), f"{EXPERTS}.down_proj_scales")),
        f"{EXPERTS}.down_proj_blocks",
    ),
    (
        "blocks of 8",
        lambda: found(reshaped(packed_floats.gpt_oss(), f"{EXPERTS}.down_proj_blocks", 3, 10, 4, 8)),
        f"{EXPERTS}.down_proj_scales",
    ),
    (
        "groups of another",
        lambda: found(reshaped(packed_floats.gpt_oss(), f"{EXPERTS}.down_proj_scales", 3, 2, 10)),
        f"{EXPERTS}.down_proj_scales",
    ),
    (
        "no global scale",
        lambda: found(without(packed_floats.nvfp4_compressed(), "a.weight_global_scale")),
        "a.weight_packed",
    ),
    ("no second scale", lambda: found(without(packed_floats.nvfp4_modelopt(), "a.weight_scale_2")), "a.weight"),
    ("no scale", lambda: found(without(packed_floats.nvfp4_compressed(), "a.weight_scale")), "a.weight_packed"),
    (
        "packed the other way",
        lambda: found(reshaped(packed_floats.nvfp4_compressed(), "a.weight_packed", 48, 20)),
        "a.weight_scale",
    ),
    (
        "groups of 32",
        lambda: found(reshaped(packed_floats.nvfp4_compressed(), "a.weight_scale", 20, 3)),
        "a.weight_scale",
    ),
    (
        "a global scale each row",
        lambda: found(reshaped(packed_floats.nvfp4_compressed(), "a.weight_global_scale", 20)),
        "a.weight_global_scale",
    ),
    (
        "inputs that are multiplied",
        lambda: found(
            Written(
                {**packed_floats.MODELOPT},
                {**packed_floats.nvfp4_modelopt().tensors, "a.pre_quant_scale": ("F32", (96,), b"")},
                {},
            )
        ),
        "a.pre_quant_scale",
    ),
    (
        "plain beside packed",
        lambda: found(
            Written({}, {**packed_floats.mxfp4_compressed().tensors, "a.w1.weight": ("BF16", (20, 96), b"")}, {})
        ),
        "a.w1.weight",
    ),
    (
        "two sets of scales",
        lambda: found(Written({}, {**packed_floats.fp8_blocks().tensors, "a.weight_scale": ("F32", (), b"0000")}, {})),
        "a.weight",
    ),
)


@pytest.mark.parametrize(("look", "place"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_parts_that_do_not_fit_are_refused_by_name(look: Callable[[], Packing | None], place: str) -> None:
    with pytest.raises(Refused) as refused:
        look()
    assert str(refused.value.place) == place


def test_bytes_without_scales_are_found_by_nobody_and_refused() -> None:
    written = without(packed_floats.fp8_blocks(), "a.weight_scale_inv")
    assert found(written) is None
    quantized = quantized_by_tensors(headers(written))
    assert quantized is not None
    assert str(quantized) == "fp8 without its scales, 8 bits"


def test_a_vector_of_small_floats_is_refused_too() -> None:
    assert quantized_by_tensors([TensorInfo("model.norm.gain", "F8_E4M3", (4,), 4)]) is not None


def test_the_tensors_decide_where_the_config_names_other_layers() -> None:
    packing = found(packed_floats.gpt_oss(), modules_to_not_convert=["model.layers.0.mlp"])
    assert packing is not None
    assert [weight.form for weight in packing.weights] == ["mxfp4"] * 3


def test_two_forms_in_one_source_are_both_found() -> None:
    packing = found(packed_floats.deepseek_v4())
    assert packing is not None
    assert {weight.name: (weight.form, tuple(weight.block)) for weight in packing.weights} == {
        "experts.0.w1.weight": ("mxfp4", (1, 32)),
        "experts.1.w1.weight": ("mxfp4", (1, 32)),
        "attn.wq_a.weight": ("fp8", (128, 128)),
    }


def test_a_cache_with_scales_beside_plain_weights_is_left_out() -> None:
    side: dict[str, dict[str, object]] = {
        "hf_quant_config.json": {"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}
    }
    tensors = [TensorInfo("a.weight", "BF16", (4, 4), 32), TensorInfo("a.k_scale", "F32", (), 4)]
    packing = packing_of({}, side, tensors, "bfloat16")
    assert packing is not None
    assert [tensor.name for tensor in packing.tensors(tensors)] == ["a.weight"]
