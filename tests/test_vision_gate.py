"""Conversion of models that see: every tensor is accounted for, towers keep numbers and type, and load as written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlx_publish.children.vision import VARIABLE
from pipeline import User, checks, read_json
from tensor_file import bfloat16, float32
from vision_faults import CANARY, put, reweigh, whole

Tensors = dict[str, NDArray[Any]]
PATCH = "model.vision_model.embeddings.patch_embedding.weight"
RANDOM = np.random.default_rng(3)


@pytest.fixture
def seer(tmp_path: Path, vision_models: Path) -> Callable[[str], Path]:
    """Copies a tiny model."""

    def copied(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(vision_models / name, folder)
        whole(folder)
        return folder

    return copied


def converted(user: User, source: Path, *flags: str, code: int = 0) -> Path:
    """Convert a folder; returns the folder of its only variant."""
    given = ("--source", source, "--license", "apache-2.0", "--work", user.home / "work")
    user.run("run", *given, "--until", "convert", "--to", f"folder:{user.home}/out", *flags, code=code)
    [variant] = [path.parent for path in (user.home / "work" / source.name).glob("*/inspect.json")]
    return variant


@pytest.fixture
def user(tmp_path: Path, vision_python: Path) -> User:
    return User(tmp_path / "home", more={VARIABLE: str(vision_python)})


def stored(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Type, shape and bytes of the tensors of a safetensors file, by name."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    return {
        name: (of["dtype"], of["shape"], content[start + of["data_offsets"][0] : start + of["data_offsets"][1]])
        for name, of in header.items()
    }


def said(variant: Path, check: str, stage: str = "convert") -> str:
    found = read_json(variant / f"{stage}.json")["checks"]
    return next(str(one["message"]) for one in found if one["id"] == check)


def test_all_tensors_arrive_and_those_of_towers_are_the_sources(user: User, seer: Callable[[str], Path]) -> None:
    source = seer("idefics3")
    variant = converted(user, source, "--bits", "4", "--group-size", "32")
    theirs, ours = stored(source / "model.safetensors"), stored(variant / "model/model.safetensors")
    assert said(variant, "tensors-accounted") == "all 59 tensors of the source are accounted for, 1 reordered"
    towers = {name: array for name, array in ours.items() if not name.startswith("language_model.")}
    assert len(towers) == 38
    for name, (_, _, numbers) in towers.items():
        _, shape, own = theirs[f"model.{name}"]
        bits = np.frombuffer(own, np.uint16).reshape(shape)
        wanted = np.moveaxis(bits, 1, -1) if f"model.{name}" == PATCH else bits
        assert numbers == np.ascontiguousarray(wanted).tobytes()
    assert "of the language model" in said(variant, "bits-per-weight")
    assert checks(variant, "convert")["loads-as-written"] == "pass"
    for name in ("preprocessor_config.json", "processor_config.json"):
        assert (variant / "model" / name).read_bytes() == (source / name).read_bytes()
    parts = read_json(variant / "convert.json")["result"]["towers"]
    assert [(one["name"], one["role"], one["sense"], one["bits"]) for one in parts] == [
        ("connector", "projector", "images", None),
        ("vision_model", "encoder", "images", None),
    ]
    assert sum(one["tensors"] for one in parts) == len(towers)


def test_towers_have_the_bits_that_the_recipe_gives_them(user: User, seer: Callable[[str], Path]) -> None:
    variant = converted(user, seer("qwen3_vl"), "--bits", "4", "--group-size", "32", "--towers", "8bit")
    block = read_json(variant / "model/config.json")["quantization"]
    own = {path: way for path, way in block.items() if path.startswith("vision_tower.")}
    assert own
    assert {(way["bits"], way["group_size"], way["mode"]) for way in own.values()} == {(8, 64, "affine")}
    assert (block["bits"], block["group_size"]) == (4, 32)
    assert "8 bits in groups of 64" in said(variant, "towers-kept")
    assert checks(variant, "convert")["loads-as-written"] == "pass"
    assert {one["bits"] for one in read_json(variant / "convert.json")["result"]["towers"]} <= {8, None}


def test_float16_goes_to_the_language_model_alone(user: User, seer: Callable[[str], Path]) -> None:
    source = seer("idefics3")
    reweigh(source, lambda tensors: _large(tensors, "model.vision_model.encoder.layers.0.mlp.fc1.weight"))
    variant = converted(user, source, "--dtype", "float16")
    tensors = stored(variant / "model/model.safetensors")
    types = {name.partition(".")[0]: dtype for name, (dtype, _, _) in tensors.items()}
    assert types == {"language_model": "F16", "vision_model": "BF16", "connector": "BF16"}
    assert "float16 was asked for, and they keep bfloat16" in said(variant, "towers-kept")
    assert "float16" in said(variant, "precision")


def _large(tensors: Tensors, name: str) -> None:
    values = float32(tensors[name]).copy()
    values.flat[5] = 1e5
    tensors[name] = bfloat16(values)


def test_a_tower_in_a_wider_type_keeps_it(user: User, seer: Callable[[str], Path]) -> None:
    source = seer("idefics3")

    def widen(tensors: Tensors) -> None:
        for name in [name for name in tensors if ".vision_model." in name]:
            tensors[name] = float32(tensors[name])

    reweigh(source, widen)
    variant = converted(user, source, "--bits", "8")
    tensors = stored(variant / "model/model.safetensors")
    assert {dtype for name, (dtype, _, _) in tensors.items() if name.startswith("vision_model.")} == {"F32"}
    assert checks(variant, "convert")["precision"] == "pass"


def test_a_convolution_whose_sides_are_alike_is_turned_and_loads_as_written(
    user: User, seer: Callable[[str], Path]
) -> None:
    source = seer("idefics3")
    put(source, "config.json", vision_config__patch_size=3, vision_config__image_size=12)
    put(source, "preprocessor_config.json", max_image_size={"longest_edge": 12}, size={"longest_edge": 24})
    kernel = bfloat16(RANDOM.standard_normal((64, 3, 3, 3)).astype(np.float32))
    reweigh(source, lambda tensors: tensors.update({PATCH: kernel}))
    variant = converted(user, source, "--bits", "8")
    _, shape, made = stored(variant / "model/model.safetensors")[PATCH.removeprefix("model.")]
    assert shape == [64, 3, 3, 3]
    assert made == np.ascontiguousarray(np.moveaxis(kernel, 1, -1)).tobytes()
    assert checks(variant, "convert")["loads-as-written"] == "pass"


def test_a_head_of_its_own_that_the_class_writes_over_is_refused(user: User, seer: Callable[[str], Path]) -> None:
    source = seer("gemma3")
    name = "language_model.lm_head.weight"

    def add(tensors: Tensors) -> None:
        embedding = next(array for path, array in tensors.items() if path.endswith("embed_tokens.weight"))
        tensors[name] = bfloat16(RANDOM.standard_normal(embedding.shape).astype(np.float32))

    reweigh(source, add)
    variant = converted(user, source, "--bits", "8", code=1)
    assert checks(variant, "convert")["tensors-accounted"] == "fail"
    assert name in said(variant, "tensors-accounted")


def test_a_pooling_head_that_no_prompt_asks_is_left_out_and_told(user: User, seer: Callable[[str], Path]) -> None:
    source = seer("gemma3")
    more = "vision_tower.vision_model.head.probe"
    reweigh(source, lambda tensors: tensors.update({more: np.ones((1, 1, 64), np.uint16)}))
    variant = converted(user, source, "--bits", "8")
    assert more in said(variant, "tensors-accounted")


def test_names_of_a_tower_as_transformers_5_saves_them_are_read(user: User, seer: Callable[[str], Path]) -> None:
    source = seer("gemma3")

    def shorten(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[name.replace("vision_tower.vision_model.", "vision_tower.")] = tensors.pop(name)

    reweigh(source, shorten)
    variant = converted(user, source, "--bits", "8")
    assert read_json(variant / "model/config.json")["hidden_size"] == 64  # by which features of images are divided
    assert checks(variant, "convert")["tensors-accounted"] == "pass"


def test_a_number_of_the_encoder_that_no_setting_holds_is_refused(user: User, seer: Callable[[str], Path]) -> None:
    source = seer("gemma3")
    put(source, "config.json", vision_config__hidden_act="relu")
    variant = converted(user, source, "--bits", "8", code=1)
    assert "vision_config.hidden_act = relu" in said(variant, "config-understood")


def test_a_default_that_transformers_fills_in_is_written(user: User, seer: Callable[[str], Path]) -> None:
    source = seer("idefics3")
    content = json.loads((source / "config.json").read_text(encoding="utf-8"))
    assert content["text_config"].pop("rope_theta")  # transformers takes 10,000, mlx-vlm a million
    (source / "config.json").write_text(json.dumps(content), encoding="utf-8")
    variant = converted(user, source, "--bits", "8")
    assert read_json(variant / "model/config.json")["text_config"]["rope_theta"] == 10000.0


def test_no_code_of_the_source_is_run_or_carried(user: User, seer: Callable[[str], Path]) -> None:
    source = seer("idefics3")
    code = f"open({str(source / CANARY)!r}, 'w').close()\nclass P: pass\n"
    for name in ("processing_mine.py", "image_processing_mine.py", "configuration_mine.py"):
        (source / name).write_text(code, encoding="utf-8")
    mapped = {"AutoProcessor": "processing_mine.P", "AutoImageProcessor": "image_processing_mine.P"}
    for name in ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json", "config.json"):
        put(source, name, auto_map=mapped)
    variant = converted(user, source, "--bits", "8")
    assert not (source / CANARY).exists()
    assert not list((variant / "model").rglob("*.py"))
    assert checks(variant, "inspect")["no-code"] == checks(variant, "inspect")["processor-files"] == "warn"


def test_a_plan_is_about_the_language_model(user: User, seer: Callable[[str], Path]) -> None:
    variant = converted(user, seer("idefics3"), "--target-bpw", "6.5")
    assert checks(variant, "convert")["target-hit"] == "pass"
    assert said(variant, "bits-per-weight").startswith("6.5")
    assert "unquantized, bfloat16" in said(variant, "towers-kept")
