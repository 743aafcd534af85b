"""Sensitivity: what is predicted for a module is what its rounding does, and all of a model is accounted for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- predictions are compared with what MLX computes
import numpy as np
import pytest
from mlx import nn  # noqa: TID251

from mlx_publish.engine import sensitivity as module
from mlx_publish.engine.backends import backend
from mlx_publish.engine.convert import convert
from mlx_publish.engine.importance import characters
from mlx_publish.engine.module_kinds import floor_of, kind_of
from mlx_publish.engine.passages import samples
from mlx_publish.engine.probes import Probed
from mlx_publish.engine.sampled_rows import Sampled
from mlx_publish.engine.sensitive_source import SensitiveSource
from mlx_publish.engine.sensitivity import sensitivity
from mlx_publish.engine.weighted import weights_of
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.sensitivities import CalibrationOrder, ModuleSensitivity, Rung, Sensitivities, rung_key
from mlx_publish.source.calibration import package_texts
from models import make_model

RUNGS: tuple[Rung, ...] = ((2, 64), (3, 64), (4, 32), (4, 64), (8, 64))


def order(samples: int = 24, length: int = 32) -> CalibrationOrder:
    return CalibrationOrder(package_texts(), "", samples, length, 0)


def measured(source: Path, *, samples: int = 24, proxy: bool = False, rungs: Sequence[Rung] = RUNGS) -> Sensitivities:
    return sensitivity(
        str(source), str(source), to_json(order(samples)), [list(rung) for rung in rungs], print, None, proxy=proxy
    )


def by_path(found: Sensitivities) -> dict[str, ModuleSensitivity]:
    return {one.path: one for one in found.modules}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("llama") / "source")


@pytest.fixture(scope="module")
def found(llama: Path) -> Sensitivities:
    return measured(llama, samples=96)


@pytest.mark.parametrize(
    "path", ["model.layers.0.mlp.down_proj", "model.layers.1.self_attn.o_proj", "model.embed_tokens"]
)
def test_the_prediction_is_what_rounding_this_module_alone_does(
    monkeypatch: pytest.MonkeyPatch, llama: Path, path: str
) -> None:
    # To nearest in both, and on the very text: the measurement of a part is compared with passes of the whole.
    monkeypatch.setattr(module, "weights_of", lambda _: None)
    rung = (4, 32)
    predicted = by_path(measured(llama, samples=96, rungs=[rung]))[path].rungs[rung_key(rung)].kld
    source = SensitiveSource.of(llama, None, proxy=False)
    texts = samples(llama, backend().load_tokenizer(llama), order(96))
    real = source.divergence(path, rung, texts)
    assert real > 1e-5
    assert predicted == pytest.approx(real, rel=0.3)


def test_fewer_bits_cost_more_and_take_less(found: Sensitivities) -> None:
    for one in found.modules:
        costs = [one.rungs[rung_key(rung)] for rung in ((2, 64), (3, 64), (4, 64), (8, 64), (16, 0))]
        assert all(wide.kld < narrow.kld for narrow, wide in pairwise(costs)), one.path
        assert all(wide.bytes > narrow.bytes for narrow, wide in pairwise(costs)), one.path
        assert one.rungs["16/0"].kld == 0


def test_modules_that_take_the_same_input_share_its_importance(found: Sensitivities) -> None:
    modules, attention = by_path(found), "model.layers.0.self_attn."
    assert len({modules[attention + name].input for name in ("q_proj", "k_proj", "v_proj")}) == 1
    assert modules[attention + "o_proj"].input == attention + "o_proj"
    assert {one.input for one in found.modules} == set(found.importance)
    for one in found.modules:
        columns = len(found.importance[one.input])
        assert one.weights % columns == 0


def test_the_order_is_that_of_the_model_and_the_bytes_are_those_of_a_conversion(
    llama: Path, found: Sensitivities, tmp_path: Path
) -> None:
    layers = [int(one.path.split(".")[2]) for one in found.modules if ".layers." in one.path]
    assert layers == sorted(layers)
    variant = VariantOrder(str(tmp_path / "4bit"), "4bit", True, 4, 64, "affine", None, None)
    tokenizer = {"folder": str(llama), "plain": None, "source": str(llama), "rows": None}
    convert(str(llama), {}, [to_json(variant)], tokenizer, [], None, print)
    written: Any = mx.load(str(Path(variant.folder) / "model.safetensors"))
    stored = sum(array.nbytes for array in written.values())
    assert sum(one.rungs["4/64"].bytes for one in found.modules) + found.other_bytes == stored


@pytest.mark.parametrize("arch", ["qwen3_moe", "qwen3_5", "deepseek_v3", "lfm2", "gemma3_text"])
def test_experts_states_and_heads_have_their_kinds_and_floors(arch: str, tmp_path: Path) -> None:
    found = measured(make_model(tmp_path / "source", arch, tie=arch != "deepseek_v3"))
    floors = {one.kind: one.floor for one in found.modules}
    assert floors["head"] == 4
    assert all(math.isfinite(cost.kld) and cost.kld >= 0 for one in found.modules for cost in one.rungs.values())
    # Each module that the class can quantize was reached by the text: none is left without a measurement.
    assert [one.path for one in found.modules if one.rungs["3/64"].kld == 0] == []
    if arch in ("qwen3_moe", "deepseek_v3"):
        experts = [one for one in found.modules if one.kind == "experts"]
        assert {one.path.rpartition(".")[2] for one in experts} == {"gate_proj", "up_proj", "down_proj"}
    if arch == "qwen3_moe":
        assert floors["router"] == 8
    if arch == "qwen3_5":
        assert {one.floor for one in found.modules if one.kind == "state-space"} == {4, 8}


def test_the_same_text_gives_the_same_measurement(llama: Path) -> None:
    assert measured(llama) == measured(llama)


def test_an_8_bit_form_stands_in_where_the_source_does_not_fit(llama: Path, found: Sensitivities) -> None:
    proxy = measured(llama, samples=96, proxy=True)
    assert proxy.proxy == "8bit"
    for one, other in zip(found.modules, proxy.modules, strict=True):
        assert (one.path, one.kind, one.floor, one.weights) == (other.path, other.kind, other.floor, other.weights)
        assert other.rungs["3/64"].kld == pytest.approx(one.rungs["3/64"].kld, rel=0.5)
        assert other.rungs["3/64"].bytes == one.rungs["3/64"].bytes


@pytest.mark.parametrize("proxy", [False, True])
def test_where_mlx_has_no_gradient_each_module_is_rounded_alone(
    monkeypatch: pytest.MonkeyPatch, llama: Path, *, proxy: bool
) -> None:
    def without(*_: object) -> None:
        raise ValueError("[Primitive::vjp] Not implemented for CustomKernel.")

    monkeypatch.setattr(Probed, "read", without)
    found = measured(llama, rungs=[(4, 64), (3, 64)], proxy=proxy)
    assert all(one.rungs["3/64"].kld > one.rungs["4/64"].kld > 0 for one in found.modules)
    assert found.importance == {}
    assert {one.input for one in found.modules} == {""}


def test_what_the_model_never_calls_keeps_8_bits(monkeypatch: pytest.MonkeyPatch, llama: Path) -> None:
    monkeypatch.setattr(Probed, "read", lambda *_: None)
    monkeypatch.setattr(SensitiveSource, "divergence", lambda *_: 0.0)
    found = measured(llama, rungs=[(4, 64), (8, 64)])
    assert {one.floor for one in found.modules} == {8}


def test_a_rung_whose_scales_overflow_is_no_choice(monkeypatch: pytest.MonkeyPatch, llama: Path) -> None:
    whole = Sampled.error
    monkeypatch.setattr(Sampled, "error", lambda one, rung: math.nan if rung == (3, 64) else whole(one, rung))
    found = measured(llama, rungs=[(3, 64), (4, 64)])
    assert {*found.modules[0].rungs} == {"4/64", "16/0"}


def test_another_error_of_mlx_is_no_missing_gradient(monkeypatch: pytest.MonkeyPatch, llama: Path) -> None:
    def broken(*_: object) -> None:
        raise ValueError("[matmul] shapes do not fit")

    monkeypatch.setattr(Probed, "read", broken)
    with pytest.raises(ValueError, match="shapes do not fit"):
        measured(llama)


def test_probes_leave_the_model_as_it_was(llama: Path) -> None:
    source = SensitiveSource.of(llama, None, proxy=False)
    ids = mx.array([[1, 2, 3, 4]])
    before, classes = source.model(ids), [type(one) for one in source.modules.values()]
    probed = Probed(source.model, source.modules, source.shapes)
    with probed.open():
        probed.read([[1, 2, 3, 4], [5, 6, 7, 8]], mx.random.key(0))
        assert all(isinstance(one, kind) for one, kind in zip(source.modules.values(), classes, strict=True))
    assert [type(one) for one in source.modules.values()] == classes
    assert mx.array_equal(source.model(ids), before)
    assert probed.positions == 8


@pytest.mark.parametrize(
    ("squares", "text"),
    [([1.0, 2.0, 4.0, 1024.0], "012a"), ([0.0, 3.0, 3.1], "000"), ([0.0, 0.0], "00"), ([1e-9, 1.0], "0u")],
)
def test_importance_is_written_in_steps_of_two(squares: list[float], text: str) -> None:
    assert characters(squares) == text
    assert np.array_equal(weights_of("03"), [1.0, 8.0])


def test_the_largest_importances_keep_their_distance() -> None:
    assert characters([2.0**-40, 1.0, 2.0**10]) == "0pz"


@pytest.mark.parametrize(
    ("path", "kind", "floor"),
    [
        ("model.layers.3.mlp.gate", "router", 8),
        ("model.layers.3.block_sparse_moe.router.layer", "router", 8),
        ("model.layers.3.mlp.gate_proj", "mlp", 2),
        ("model.layers.3.mlp.shared_expert_gate", "router", 8),
        ("model.layers.3.self_attn.indexer.wk", "indexer", 8),
        ("backbone.layers.1.mixer.q_proj", "attention", 2),
        ("backbone.layers.1.mixer.in_proj", "state-space", 4),
        ("model.layers.0.linear_attn.in_proj_ba", "state-space", 8),
        ("model.layers.0.conv.in_proj", "state-space", 4),
        ("lm_head", "head", 4),
        ("model.layers.0.something", "other", 2),
    ],
)
def test_kinds_follow_from_names(path: str, kind: str, floor: int) -> None:
    linear = nn.Linear(32, 32)
    assert kind_of(path, linear, head=False) == kind
    assert floor_of(path, kind, {"bits": 8, "group_size": 64} if kind == "router" else True) == floor


def test_what_a_class_keeps_at_8_bits_for_small_floats_alone_is_measured() -> None:
    assert floor_of("model.layers.0.self_attn.o_proj", "attention", {"bits": 8, "group_size": 64}) == 2


def overflowing(folder: Path, factor: float, ending: str) -> Path:
    """Make a model of which some weights are so large that what flows through it does not fit float32."""
    source = make_model(folder)
    weights: Any = mx.load(str(source / "model.safetensors"))
    large = {name: weight * factor if name.endswith(ending) else weight for name, weight in weights.items()}
    mx.save_safetensors(str(source / "model.safetensors"), large, {"format": "pt"})
    return source


def test_a_source_that_computes_no_numbers_is_refused_for_a_plan(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="computes no numbers on the calibration text") as refused:
        measured(overflowing(tmp_path / "m", 1e25, "_proj.weight"), samples=4)
    assert "in place of a plan" in refused.value.remedy
