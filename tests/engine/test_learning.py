"""Variants that learn: by mlx-lm's own modules, with the network closed off, to what mlx-lm loads."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import mlx.core as mx  # noqa: TID251 -- what was written is read by it
import numpy as np
import pytest
from mlx_lm.utils import load_model  # noqa: TID251 -- what was written is loaded as its users do

from mlx_publish.engine.backends import backend, use
from mlx_publish.engine.convert import convert
from mlx_publish.engine.learning import learned, learns
from mlx_publish.engine.methods import _state
from mlx_publish.engine.methods import dwq as dwq_engine
from mlx_publish.engine.methods.plan import quantizable
from mlx_publish.engine.source_model import load_source
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import Conversion, VariantOrder
from mlx_publish.evidence.records import to_json
from mlx_publish.recipes.plan import Plan
from mlx_publish.recipes.plan_text import write_plan
from mlx_publish.text.progress import Step
from models import make_model

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "LICENSE").read_text(encoding="utf-8")
QUICK: Mapping[str, Mapping[str, object]] = {
    "awq": {"grid": 4},
    "gptq": {},
    "dwq": {"learning_rate": 1e-4, "batch_size": 2},
}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket can be made, and HOME is empty, where mlx-lm keeps the text that its programs fetch."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a method asked the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    use("mlx_lm")


@dataclass(frozen=True)
class Made:
    """A source, and what was made of it."""

    source: Path
    folder: Path
    conversion: Conversion
    told: Sequence[object]

    @property
    def block(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        assert config["quantization"] == config["quantization_config"]
        block: dict[str, Any] = config["quantization"]
        return block

    def distance(self) -> float:
        """The mean KL divergence of the loaded variant from its source, in nats."""
        ids = mx.array([backend().load_tokenizer(self.source).encode(TEXT[9000:10000])[:256]])
        logits = [answers(folder, ids)[0] for folder in (self.source, self.folder)]
        theirs, ours = (values - np.log(np.exp(values).sum(axis=-1, keepdims=True)) for values in logits)
        return float((np.exp(theirs) * (theirs - ours)).sum(axis=-1).mean())


def answers(folder: Path, ids: mx.array) -> Any:
    """The logits of the model in a folder."""
    model = load_model(folder)[0]
    model.set_dtype(mx.float32)  # the CPU has no products of experts in bfloat16
    return np.array(model(ids), dtype=np.float64)


def order(folder: Path, method: str, **more: Any) -> VariantOrder:
    """An order of 4 bits with little text."""
    options: Any = {"method": method, "learning": QUICK.get(method, {})}
    text: Any = {"texts": {"text": TEXT[:8000].split("\n\n")}, "sha256": "", "samples": 24, "length": 64, "seed": 0}
    plain = VariantOrder(str(folder), f"4bit-{method}", True, 4, 64, "affine", None, None, method)
    given: dict[str, Any] = {"options": options, "calibration": text} | more
    return replace(plain, **given)


def made(tmp_path: Path, method: str, arch: str = "llama", orders: Sequence[VariantOrder] = (), **more: Any) -> Made:
    source = tmp_path / "source"
    if not source.exists():
        make_model(source, arch)
    config = json.loads((source / "config.json").read_text())
    tokenizer = {"folder": str(source), "plain": None, "source": str(source), "rows": None}
    told: list[object] = []
    own = order(tmp_path / method, method, **more)
    conversion = convert(str(source), config, to_json([own, *orders]), tokenizer, [], None, told.append)
    return Made(source, tmp_path / method, conversion, told)


@pytest.mark.parametrize(
    ("method", "arch"),
    [
        ("awq", "llama"),
        ("awq", "qwen3"),
        ("awq", "gemma3_text"),
        ("gptq", "llama"),
        ("gptq", "qwen3"),
        ("gptq", "qwen3_moe"),
        ("gptq", "qwen3_5"),
        ("dwq", "llama"),
        ("dwq", "qwen3"),
        ("dwq", "qwen3_moe"),
    ],
)
def test_a_method_writes_a_model_that_mlx_lm_loads_and_that_is_close_to_its_source(
    tmp_path: Path, method: str, arch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = order(tmp_path / "plain", "rtn", options={}, calibration=None)
    done = made(tmp_path, method, arch, orders=[plain])
    assert {key: done.block[key] for key in ("bits", "group_size", "mode")} == {
        "bits": 4, "group_size": 64, "mode": "affine",
    }  # fmt: skip
    rounded = replace(done, folder=tmp_path / "plain").distance()
    assert 0 < done.distance() < 1.25 * rounded, "as close as rounding, on text that nothing was learned from"
    written = done.conversion.variants[f"4bit-{method}"]
    assert written.vanished == []
    assert written.sha256.keys() == {"model.safetensors", "model.safetensors.index.json"}
    assert written.learned is not None
    assert written.learned.made_on.backend == "cpu"
    steps = [step for step in done.told if isinstance(step, Step) and step.what.startswith(f"learning 4bit-{method}")]
    assert steps, "it shows how far it is"
    assert all(step.total for step in steps)
    assert "\r" not in capsys.readouterr().out, "no bar of tqdm"


def test_weights_have_the_types_of_the_source_though_a_cpu_computes_in_float32(tmp_path: Path) -> None:
    for method in QUICK:
        arrays: Any = mx.load(str(made(tmp_path, method).folder / "model.safetensors"))
        assert {array.dtype for array in arrays.values()} == {mx.bfloat16, mx.uint32}


def test_a_dtype_of_the_recipe_holds_for_what_is_learned(tmp_path: Path) -> None:
    done = made(tmp_path, "gptq", dtype="float16")
    arrays: Any = mx.load(str(done.folder / "model.safetensors"))
    assert {array.dtype for array in arrays.values()} == {mx.float16, mx.uint32}
    assert json.loads((done.folder / "config.json").read_text())["torch_dtype"] == "float16"


@pytest.mark.parametrize("method", ["gptq", "dwq"])
def test_a_router_stays_as_wide_as_its_class_wants_it(tmp_path: Path, method: str) -> None:
    done = made(tmp_path, method, "qwen3_moe")
    arrays: Any = mx.load(str(done.folder / "model.safetensors"))
    assert arrays["model.layers.0.mlp.gate.scales"].shape == (8, 1), "what was hidden is there again, packed"
    gates = {key: value for key, value in done.block.items() if isinstance(value, dict)}
    assert {path.rpartition(".layers.")[2].partition(".")[2] for path in gates} == {"mlp.gate"}
    assert {gate["bits"] for gate in gates.values()} == {8}
    assert done.conversion.variants[f"4bit-{method}"].kept.wider == dict.fromkeys(gates, 8)


def test_two_runs_on_one_machine_give_the_same_bytes(tmp_path: Path) -> None:
    for method in QUICK:
        first = made(tmp_path, method).conversion.variants[f"4bit-{method}"].sha256
        assert made(tmp_path, method).conversion.variants[f"4bit-{method}"].sha256 == first


def test_rounding_beside_a_method_that_learns_has_the_bytes_that_it_has_alone(tmp_path: Path) -> None:
    plain = order(tmp_path / "plain", "rtn", options={}, calibration=None)
    beside = made(tmp_path, "gptq", orders=[plain]).conversion.variants["4bit-rtn"].sha256
    assert made(tmp_path, "rtn", options={}, calibration=None).conversion.variants["4bit-rtn"].sha256 == beside


def test_gptq_rounds_what_it_cannot_do_with_the_bits_of_its_fallback_and_says_so(tmp_path: Path) -> None:
    done = made(tmp_path, "gptq", options={"method": "gptq", "learning": {"fallback_bits": 6}})
    assert done.block["model.embed_tokens"] == {"group_size": 64, "bits": 6}
    assert done.conversion.variants["4bit-gptq"].kept.fallback == {"model.embed_tokens": 6}
    assert made(tmp_path, "gptq").conversion.variants["4bit-gptq"].kept.fallback == {}


def test_gptq_is_closer_to_its_source_than_rounding(tmp_path: Path) -> None:
    make_model(tmp_path / "source", hidden=128, seed=3)
    distances = {method: made(tmp_path, method, bits=2).distance() for method in ("gptq", "rtn")}
    assert distances["gptq"] < 0.9 * distances["rtn"]


def test_a_type_that_awq_does_not_know_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="does not know the model type qwen3_moe") as caught:
        made(tmp_path, "awq", "qwen3_moe")
    assert "target_bpw" in caught.value.remedy


def test_an_mlx_lm_without_a_method_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlx_lm.quant.gptq", None)
    monkeypatch.delattr("mlx_lm.quant.gptq", raising=False)
    monkeypatch.delitem(sys.modules, "mlx_publish.engine.methods.gptq", raising=False)
    with pytest.raises(Refused, match=r"the installed mlx-lm has no gptq: .*mlx_lm\.quant"):
        learns(order(tmp_path, "gptq"))


def test_dwq_learns_below_eight_bits_only(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no module of fewer than 8 bits"):
        made(tmp_path, "dwq", bits=8)


def test_dwq_helps_and_a_learning_rate_that_is_too_large_does_harm_and_shows(tmp_path: Path) -> None:
    good = made(tmp_path, "dwq").conversion.variants["4bit-dwq"].learned
    rash = {"method": "dwq", "learning": {"learning_rate": 0.5, "batch_size": 2}}
    bad = made(tmp_path, "dwq", options=rash).conversion.variants["4bit-dwq"].learned
    assert good is not None
    assert bad is not None
    assert good.before is not None
    assert good.after is not None
    assert good.after < good.before
    assert bad.before == good.before
    assert not bad.after or bad.after > good.before


def test_a_dwq_whose_loss_is_no_number_is_refused_with_what_to_do(tmp_path: Path) -> None:
    wild = {"method": "dwq", "learning": {"learning_rate": 1e38, "batch_size": 2}}
    with pytest.raises(Refused, match="the loss is no number any more after") as refused:
        made(tmp_path, "dwq", options=wild)
    assert "smaller learning_rate" in refused.value.remedy


def test_a_source_that_computes_no_numbers_is_nothing_to_learn_from(tmp_path: Path) -> None:
    weights: Any = mx.load(str(make_model(tmp_path / "source") / "model.safetensors"))
    huge = {name: part * 1e25 if name.endswith("_proj.weight") else part for name, part in weights.items()}
    mx.save_safetensors(str(tmp_path / "source/model.safetensors"), huge, {"format": "pt"})
    with pytest.raises(Refused, match="the source computes no numbers on the calibration text"):
        made(tmp_path, "dwq")


def planned(folder: Path) -> VariantOrder:
    """An order by a plan: modules of 4 and 8 bits one after the other, scales by importance."""
    modules, importance = {}, {}
    sizes = quantizable(load_source(folder).model)
    for number, (module, columns) in enumerate(sizes.items()):
        modules[module] = {
            "bits": 8 if number % 3 == 2 else 4,
            "group_size": 32,
            "kld": 0.1,
            "kind": "x",
            "weights": 64 * columns,
        }
        importance[module] = "".join("0369"[column % 4] for column in range(columns))
    keys: dict[str, Any] = {"bits_per_weight": 4.6, "predicted_kld": 0.1, "chosen": "0" * 16, "rounding": "weighted"}
    keys |= {"source": {"name": "tiny", "identity": "0" * 40}, "target": {"target_bpw": 4.6}}
    keys |= {"others": {"weights": 0, "bytes": 0}, "modules": modules, "importance": importance}
    path = folder.parent / "plan.yaml"
    write_plan(path, Plan.model_validate(keys))
    return order(folder.parent / "plan", "plan", options={}, calibration=None, bits=None, plan=str(path))


@pytest.mark.parametrize("arch", ["llama", "qwen3_moe"])
def test_dwq_upon_a_plan_learns_the_scales_of_its_narrow_modules_and_leaves_all_codes(
    tmp_path: Path, arch: str
) -> None:
    plain = planned(make_model(tmp_path / "source", arch))
    done = made(tmp_path, "dwq", bits=None, group_size=64, plan=plain.plan, orders=[plain])
    before: Any = mx.load(str(Path(plain.folder) / "model.safetensors"))
    after: Any = mx.load(str(done.folder / "model.safetensors"))
    assert before.keys() == after.keys()
    moved = {name for name in before if not mx.array_equal(before[name], after[name]).item()}
    assert moved
    assert {name.rpartition(".")[2] for name in moved} == {"scales", "biases"}
    block = done.block
    assert block == json.loads((Path(plain.folder) / "config.json").read_text())["quantization"]
    assert {block.get(name.rpartition(".")[0], block)["bits"] for name in moved} == {4}
    learned_of = done.conversion.variants["4bit-dwq"].learned
    assert learned_of is not None
    assert learned_of.before is not None
    assert learned_of.after is not None
    assert learned_of.after < learned_of.before


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("changed", [False, True])
def test_an_interrupted_training_goes_on_where_it_was_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    monkeypatch.setattr(_state, "SECONDS", 0.0)
    monkeypatch.setattr(_state, "_SHARE", 0)
    source, state = make_model(tmp_path / "source"), tmp_path / "work" / "learning.safetensors"
    whole = learned(source, order(tmp_path / "whole", "dwq"), (), mx.cpu, lambda _: None)
    step, taken = dwq_engine._Training._step, 0

    def stops(self: Any, *arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken > 2:
            raise _Stopped
        return step(self, *arguments)

    half = order(tmp_path / "half", "dwq", state=str(state))
    with monkeypatch.context() as interrupted:
        interrupted.setattr(dwq_engine._Training, "_step", stops)
        with pytest.raises(_Stopped):
            learned(source, half, (), mx.cpu, lambda _: None)
    assert state.is_file()
    again = order(tmp_path / "again", "dwq", state=str(state))
    if changed:
        options = {"method": "dwq", "learning": {**QUICK["dwq"], "learning_rate": 2e-4}}
        again = replace(again, options=options)
    done = learned(source, again, (), mx.cpu, lambda _: None)
    assert done.learned is not None
    assert whole.learned is not None
    assert done.learned.resumed == (0 if changed else 2)
    assert (done.sha256 == whole.sha256) is not changed
    assert done.learned.steps == whole.learned.steps > 2
    assert not state.exists(), "what is done is not resumed"


def test_half_a_state_file_is_not_resumed(tmp_path: Path) -> None:
    state = tmp_path / "learning.safetensors"
    state.write_bytes(b"\x10\x00\x00\x00")
    assert _state.restored(str(state), "inputs") is None
    assert _state.restored("", "inputs") is None
