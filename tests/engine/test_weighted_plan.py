"""A variant by plan: each module has the bits, the groups and the scales that its plan gives it, or nothing is written."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what was written is read by it
import mlx_lm.utils  # noqa: TID251 -- as its users load it
import numpy as np
import pytest
from mlx import nn  # noqa: TID251
from mlx_lm.models import llama  # noqa: TID251 -- a class that leaves a module whole

from mlx_publish.engine import rows
from mlx_publish.engine.backends import use
from mlx_publish.engine.convert import convert
from mlx_publish.engine.methods.plan import quantizable
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.sensitive_source import SensitiveSource
from mlx_publish.engine.source_model import load_source
from mlx_publish.engine.weighted import STEPS, quantize_rows, weights_of
from mlx_publish.errors import BadInput
from mlx_publish.evidence.conversion import Conversion, VariantOrder
from mlx_publish.evidence.records import to_json
from mlx_publish.recipes.plan import Plan
from mlx_publish.recipes.plan_text import write_plan
from models import make_model

RUNGS = ((4, 64), (3, 64), (8, 32), (16, 0), (4, 64), (2, 32), (5, 64), (6, 64))
KINDS = {"llama": 2, "qwen3_moe": 2, "qwen3_5": 4, "deepseek_v3": 2}
"""Architectures with layers: one of experts, a hybrid, and one whose class computes weights of the source's."""
INTEGERS = {mx.bfloat16: mx.uint16, mx.float16: mx.uint16, mx.float32: mx.uint32}


@pytest.fixture(params=list(KINDS))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_model(
        tmp_path / "source", request.param, layers=KINDS[request.param], tie=request.param != "deepseek_v3"
    )


def hand_made(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """A plan with one rung after the other, and inputs as layers share them."""
    use("mlx_lm")
    model = load_source(folder).model
    sizes = {path: int(module.weight.size) for path, module in model.named_modules() if hasattr(module, "to_quantized")}
    random = np.random.default_rng(3)
    modules, importance = {}, {}
    for (path, columns), (bits, group_size) in zip(quantizable(model).items(), itertools.cycle(RUNGS), strict=False):
        key = f"{path.rpartition('.')[0]}.{columns}" if bits != 5 else ""
        modules[path] = {"bits": bits, "kld": 0.01, "kind": "mlp", "weights": sizes[path]}
        if bits != 16:
            modules[path] |= {"group_size": group_size, "input": key}
            if key:
                importance[key] = "".join(STEPS[step] for step in random.integers(0, 20, columns))
    return modules, importance


def write(
    path: Path, modules: Mapping[str, Any], importance: Mapping[str, str], rounding: str = "weighted"
) -> VariantOrder:
    keys = {
        "source": {"name": "tiny", "identity": "0" * 40},
        "target": {"target_bpw": 4.6},
        "bits_per_weight": 4.6,
        "predicted_kld": 0.1,
        "chosen": "0" * 16,
        "rounding": rounding,
        "others": {"weights": 0, "bytes": 0},
        "modules": dict(modules),
        "importance": dict(importance),
    }
    path.parent.mkdir(exist_ok=True)
    write_plan(path, Plan.model_validate(keys))
    folder = str(path.parent / "model")
    return VariantOrder(
        folder, path.parent.name, True, None, None, "affine", None, "bfloat16", method="plan", plan=str(path)
    )


def converted(source: Path, *orders: VariantOrder) -> Conversion:
    use("mlx_lm")
    config = json.loads((source / "config.json").read_text())
    tokenizer = {"folder": str(source), "plain": None, "source": str(source), "rows": None}
    return convert(str(source), config, to_json(orders), tokenizer, [], None, lambda _: None)


def parameters(folder: Path) -> dict[str, mx.array]:
    model = load_source(folder).model
    return {path: module.weight for path, module in model.named_modules() if hasattr(module, "to_quantized")}


def test_config_and_tensors_have_exactly_the_bits_of_the_plan(source: Path, tmp_path: Path) -> None:
    modules, importance = hand_made(source)
    order = write(tmp_path / "planned" / "plan.yaml", modules, importance)
    assert converted(source, order).variants["planned"].overflows == ""
    config = json.loads((Path(order.folder) / "config.json").read_text())
    block = config["quantization"]
    assert config["quantization_config"] == block
    assert {key: block[key] for key in ("group_size", "bits", "mode")} == {
        "group_size": 64,
        "bits": 4,
        "mode": "affine",
    }
    model, _ = mlx_lm.utils.load_model(Path(order.folder))
    loaded = dict(model.named_modules())
    for path, planned in modules.items():
        own = block.get(path, block)
        if planned["bits"] == 16:
            assert own is False
            assert "scales" not in loaded[path]
            continue
        rung = planned["group_size"], planned["bits"]
        assert (own["group_size"], own["bits"]) == rung
        assert path not in block or rung != (64, 4)
        assert (loaded[path].group_size, loaded[path].bits) == rung


def test_a_plan_is_measured_and_followed_without_what_the_class_leaves_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, kept = make_model(tmp_path / "source"), "model.layers.0.mlp.down_proj"
    own = property(lambda _: lambda path, _module: path != kept)
    monkeypatch.setattr(llama.Model, "quant_predicate", own, raising=False)
    modules, importance = hand_made(source)
    whole = SensitiveSource.of(source, None, proxy=False)
    assert modules.keys() - whole.modules.keys() == {kept}
    del modules[kept]
    order = write(tmp_path / "planned" / "plan.yaml", modules, importance)
    assert converted(source, order).variants["planned"].overflows == ""
    loaded = dict(mlx_lm.utils.load_model(Path(order.folder))[0].named_modules())
    assert "scales" not in loaded[kept]
    assert "scales" in loaded["model.layers.1.mlp.down_proj"]


def test_each_module_is_rounded_by_its_importance_and_mlx_reads_what_was_chosen(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules, importance = hand_made(source)
    monkeypatch.setattr(rows, "PIECE", 1 << 12)
    order = write(tmp_path / "planned" / "plan.yaml", modules, importance)
    written = converted(source, order).variants["planned"]
    assert list(written.kept.nearest) == []
    loaded = dict(mlx_lm.utils.load_model(Path(order.folder))[0].named_modules())
    for path, stored in parameters(source).items():
        planned, weight = modules[path], stored.astype(mx.bfloat16)
        if planned["bits"] == 16:
            assert mx.array_equal(loaded[path].weight, weight)
            continue
        size, bits = planned["group_size"], planned["bits"]
        if key := planned["input"]:
            flat = np.array(weight.view(mx.uint16)).reshape(-1, weight.shape[-1])
            made = quantize_rows(flat, mx.bfloat16, Precision(size, bits, "affine"), weights_of(importance[key]))
            expected = [mx.array(made[0]), *(mx.array(part).view(mx.bfloat16) for part in made[1:])]
        else:
            expected = list(mx.quantize(weight, size, bits))
        for part, array in zip(("weight", "scales", "biases"), expected, strict=True):
            assert mx.array_equal(loaded[path][part].flatten(), array.flatten())


def test_the_same_plan_gives_the_same_bytes_alone_and_beside_others(source: Path, tmp_path: Path) -> None:
    modules, importance = hand_made(source)
    one, two, other = (write(tmp_path / name / "plan.yaml", modules, importance) for name in ("one", "two", "other"))
    first = converted(source, one).variants["one"].sha256
    together = converted(source, two, other).variants
    assert first == together["two"].sha256 == together["other"].sha256


def test_a_plan_that_rounds_to_nearest_writes_what_plain_rounding_writes(source: Path, tmp_path: Path) -> None:
    plain = VariantOrder(str(tmp_path / "plain"), "plain", True, 4, 64, "affine", None, "bfloat16")
    expected = converted(source, plain).variants["plain"].sha256
    block = json.loads((tmp_path / "plain" / "config.json").read_text())["quantization"]
    modules, importance = hand_made(source)
    for path, module in modules.items():  # some classes give some modules other bits by themselves
        own = block.get(path, block)
        modules[path] = {**module, "bits": own["bits"], "group_size": own["group_size"]}
    order = write(tmp_path / "nearest" / "plan.yaml", modules, importance, "nearest")
    assert converted(source, order).variants["nearest"].sha256 == expected


def test_a_module_whose_class_packs_its_own_way_is_rounded_by_it_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_model(tmp_path / "source")
    modules, importance = hand_made(source)
    name = "model.layers.1.mlp.down_proj"
    modules[name] = {**modules[name], "bits": 4, "group_size": 64, "input": "model.layers.1.mlp.192"}
    importance["model.layers.1.mlp.192"] = "5" * int(parameters(source)[name].shape[-1])
    plain = nn.Linear.to_quantized

    def shifted(self: nn.Linear, **settings: Any) -> nn.Module:
        if self.weight.shape[-1] != 64:
            self.weight = self.weight * mx.array(2.0, self.weight.dtype)
        return plain(self, **settings)

    monkeypatch.setattr(nn.Linear, "to_quantized", shifted)
    order = write(tmp_path / "planned" / "plan.yaml", modules, importance)
    kept = converted(source, order).variants["planned"].kept
    assert name in kept.nearest
    assert "model.layers.1.self_attn.q_proj" not in kept.nearest
    tensors: Any = mx.load(str(Path(order.folder) / "model.safetensors"))
    expected = mx.quantize(parameters(source)[name].astype(mx.bfloat16) * 2, 64, 4)
    assert mx.array_equal(tensors[f"{name}.weight"], expected[0])


def test_a_plan_that_does_not_fit_the_model_names_file_key_and_next_step(tmp_path: Path) -> None:
    source = make_model(tmp_path / "source")
    modules, importance = hand_made(source)
    path, key = next((path, module["input"]) for path, module in modules.items() if module.get("input"))
    odd = {"bits": 4, "group_size": 64, "kld": 0.0, "kind": "mlp", "weights": 4096}
    whole = {name: {**module, "bits": 16, "group_size": 0, "input": ""} for name, module in modules.items()}
    few = {name: module for name, module in modules.items() if name != path}
    cases: tuple[tuple[str, str, dict[str, Any], dict[str, str]], ...] = (
        (
            "modules.model.layers.9.mlp.up_proj",
            "no such module",
            modules | {"model.layers.9.mlp.up_proj": odd},
            importance,
        ),
        (f"modules.{path}", "lacks", few, importance),
        (
            f"modules.{path}.group_size",
            "do not divide",
            modules | {path: modules[path] | {"group_size": 128}},
            importance,
        ),
        (f"importance.{key}", "columns", modules, importance | {key: importance[key] + "0"}),
        ("modules", "nothing", whole, {}),
    )
    for number, (where, words, changed, steps) in enumerate(cases):
        file = tmp_path / f"case{number}" / "plan.yaml"
        with pytest.raises(BadInput, match=words) as raised:
            converted(source, write(file, changed, steps))
        assert (raised.value.key, raised.value.place.name) == (where, str(file))
        assert raised.value.remedy
        assert not (file.parent / "model").exists()
