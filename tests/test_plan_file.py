"""The plan file: a person can read it and edit it, whoever reads it sees the same, and nothing strange gets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_publish.errors import BadInput
from mlx_publish.recipes.plan import (
    Others,
    Plan,
    PlannedCalibration,
    PlannedModule,
    PlannedSource,
    digest_of_choice,
    plan_of,
    read_plan,
    stored_bytes,
)
from mlx_publish.recipes.plan_text import plan_text, write_plan
from mlx_publish.text.bounds import PLAN_BYTES

UP, DOWN = "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"


def module(bits: int, **keys: Any) -> PlannedModule:
    usual = {"bits": bits, "group_size": 64, "kld": 0.00012, "kind": "mlp", "weights": 12800}
    return PlannedModule.model_validate({**usual, **keys})


def make_plan(**changes: Any) -> Plan:
    modules = {
        "model.embed_tokens": module(6, kind="embedding", floor=4),
        UP: module(4, input=UP),
        "model.layers.0.mlp.gate_proj": module(3, group_size=32, input=UP),
        DOWN: module(16, group_size=0, kld=0.0),
    }
    keys: dict[str, Any] = {
        "source": PlannedSource(name="Tiny: a model", identity="1" * 40),
        "calibration": PlannedCalibration(text="package", sha256="c" * 64, samples=32, length=256, seed=0),
        "tools": {"mlx": "0.32.4", "mlx-lm": "0.32.2"},
        "target": {"fits": "16GB", "context": 8192},
        "target_words": "16 GB at 8,192 tokens",
        "need_bytes": 11_000_000_000,
        "bits_per_weight": 7.5,
        "predicted_kld": 0.00036,
        "chosen": digest_of_choice(modules),
        "others": Others(weights=128, bytes=256),
        "modules": modules,
        "importance": {UP: "0123456789abcxyz" * 20},
    }
    return Plan.model_validate(keys | changes)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    plan, path = make_plan(), tmp_path / "plan.yaml"
    write_plan(path, plan)
    assert read_plan(path) == plan
    write_plan(path, read_plan(path))
    assert path.read_text() == plan_text(plan)


def test_a_person_can_read_it() -> None:
    text = plan_text(make_plan())
    lines = text.splitlines()
    assert lines[0].startswith("# Quantization plan for mlx-publish")
    assert f"  {UP}: {{bits: 4, group_size: 64, kld: 0.00012, kind: mlp, weights: 12800}}" in lines
    assert f"  {DOWN}: {{bits: 16, kld: 0.0, kind: mlp, weights: 12800}}" in lines
    assert "floor: 4}" in next(line for line in lines if "embed_tokens" in line)
    assert lines.index("modules:") < lines.index("importance:")
    assert all(len(line) <= 120 for line in lines[lines.index("importance:") :])
    paths = [line.split(":")[0].strip() for line in lines[lines.index("modules:") + 1 :] if "{bits" in line]
    assert paths == list(make_plan().modules)


def test_bits_follow_from_the_modules_as_they_stand_there() -> None:
    plan = make_plan()
    by_hand = 12800 * (6 + 0.5 + 4 + 0.5 + 3 + 1 + 16) / 8 + 256
    assert plan.weight_bytes == by_hand
    assert plan.bits_now == pytest.approx(8 * by_hand / (4 * 12800 + 128))
    assert stored_bytes(640, 4, 64) == 320 + 40
    assert stored_bytes(640, 4, 64, 4) == 320 + 80


def test_bits_that_a_person_changed_are_noticed() -> None:
    plan = make_plan()
    text = plan_text(plan)
    other = plan_of(text.replace("bits: 4, group_size: 64", "bits: 5, group_size: 32"), "p.yaml")
    assert (plan.edited, other.edited) == (False, True)
    assert other.modules[UP].rung == "5/32"
    assert other.bits_now > plan.bits_now
    assert other.importance == plan.importance
    assert not plan_of(text.replace("kld: 0.00012", "kld: 0.5"), "p.yaml").edited


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("bits: 6", "bits: 3", "modules.model.embed_tokens.bits", "below the floor of this module, 4"),
        ("bits: 4, ", "bits: 7, ", f"modules.{UP}.bits", "2, 3, 4, 5, 6, 8 or 16"),
        ("bits: 4, group_size: 64", "bits: 4", f"modules.{UP}.group_size", "4 bits need a group size"),
        ("{bits: 16", "{bits: 16, group_size: 64", f"modules.{DOWN}.group_size", "stored as it is"),
        ("bits: 4, group_size: 64", "bits: 4, group_size: 48", f"modules.{UP}.group_size", "0, 32, 64 or 128"),
        ("kld: 0.0,", "kld: -1.0,", f"modules.{DOWN}.kld", "greater than or equal to 0"),
        ("kld: 0.0,", "kld: .nan,", f"modules.{DOWN}.kld", "finite"),
        ("bits: 4, group_size: 64", "bits: 4, group_size: [64]", f"modules.{UP}.group_size", "0, 32, 64 or 128"),
        ("modules:\n", "modules:\n  a.b: 4\n", "modules.a.b", "should be a mapping of keys"),
        ("rounding: weighted", "rounding: up", "rounding", "'weighted' or 'nearest'"),
        ("rounding: weighted", "rounding: weighted\nmodule: 1", "module", "unknown key; did you mean modules?"),
        ("0123456789abc", "0123456789ABC", f"importance.{UP}", "pattern"),
        ("input: model.layers.0.mlp.up_proj", "input: model.x", "importance", "has no model.x"),
        ("chosen:", "chosen2:", "chosen", "required key is missing"),
    ],
)
def test_what_is_wrong_is_named_with_its_key_and_line(old: str, new: str, key: str, words: str) -> None:
    text = plan_text(make_plan())
    assert old in text
    with pytest.raises(BadInput) as error:
        plan_of(text.replace(old, new), "plans/p.yaml")
    fault = next(fault for fault in error.value.faults if fault.key == key)
    assert words in fault.message
    assert fault.place.name == "plans/p.yaml"
    assert fault.place.line
    assert error.value.remedy


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"schema: mlx-publish/plan/1\n", "is not a quantization plan of this version; its schema is"),
        (b"- 1\n", "is not a quantization plan of this version"),
        (b"source: a/b\nvariants: [4bit]\n", "is not a quantization plan of this version"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"schema: [", "not valid YAML"),
        (b"a: &b {c: 1}\nd: *b\n", "anchors and aliases are not supported"),
        (b"#" * (PLAN_BYTES + 1), "is larger than"),
    ],
    ids=["matrix", "list", "recipe", "bytes", "yaml", "aliases", "large"],
)
def test_another_file_is_none(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=words) as error:
        read_plan(path)
    assert error.value.place.name == str(path)
    assert error.value.remedy
    with pytest.raises(BadInput, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")


names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@given(st.lists(names.map(lambda name: name[:40]), min_size=1, max_size=6, unique=True), st.data())
@settings(max_examples=80, deadline=None)
def test_every_plan_is_read_as_it_was_written(paths: list[str], data: st.DataObject) -> None:
    rungs = st.sampled_from([(2, 32), (3, 64), (4, 128), (8, 64), (16, 0)])
    modules = {}
    for path in paths:
        bits, group = data.draw(rungs)
        kld = float(f"{data.draw(st.floats(0, 30)):.6g}")
        modules[path] = module(bits, group_size=group, kld=kld, weights=1280, kind=data.draw(st.sampled_from("ab")))
    source = PlannedSource(
        name=data.draw(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60)), identity=""
    )
    plan = make_plan(modules=modules, chosen=digest_of_choice(modules), importance={}, source=source)
    assert plan_of(plan_text(plan), "p.yaml") == plan
