"""Numbers and tensors of the source: broken, lost, dead or of another type than declared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- the reader of a converted model
import numpy as np
import pytest
from numpy.typing import NDArray

from gate import (
    Change,
    as_transformers5,
    edit_json,
    edit_tensors,
    gate,
    loaded,
    logits,
    same_tensors,
    stored,
    stored_dtypes,
)
from models import make_model
from pipeline import User, digests, read_json, write_recipe
from tensor_file import bfloat16, float32

Tensors = dict[str, NDArray[Any]]
UP = "model.layers.1.mlp.up_proj.weight"
Q = "model.layers.0.self_attn.q_proj.weight"
# Bits of bfloat16.
NAN, INFINITY = 0x7FC1, 0x7F80


def broken(dtype: str, name: str, value: float | int) -> Change:
    def change(tensors: Tensors) -> None:
        tensors[name].flat[-1] = value

    return lambda folder: edit_tensors(make_model(folder, dtype=dtype, tie=False), change)


def edited(change: Callable[[Tensors], object], **keys: Any) -> Change:
    return lambda folder: edit_tensors(make_model(folder, **keys), change)


def without(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.pop(name)


def with_more(name: str, shape: tuple[int, ...] = (64, 64)) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: bfloat16(np.ones(shape, np.float32))})


def zero(tensors: Tensors) -> None:
    tensors[Q][:] = 0


def other_head(tensors: Tensors) -> None:
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"][::-1]


def narrow(tensors: Tensors) -> None:
    tensors[UP] = tensors[UP][:64]


# How the source is made, flags, the check that refuses, words of what it says.
REFUSED: dict[str, tuple[Change, list[str], str, str]] = {
    "NaN in bfloat16": (broken("bfloat16", UP, NAN), [], "numbers-finite", UP),
    "minus infinity in bfloat16, not quantized": (
        broken("bfloat16", "lm_head.weight", INFINITY | 0x8000),
        ["--dtype", "bfloat16"],
        "numbers-finite",
        "lm_head",
    ),
    "infinity in float16": (broken("float16", Q, float("inf")), ["--bits", "8"], "numbers-finite", Q),
    "NaN in a norm of float32": (
        broken("float32", "model.norm.weight", float("nan")),
        ["--variants", "4bit,bf16"],
        "numbers-finite",
        "model.norm.weight contains NaN or infinity",
    ),
    "a head dropped by the tie flag": (
        edited(other_head),
        [],
        "tensors-accounted",
        "no place in the MLX model, first: lm_head.weight",
    ),
    "a tensor that nobody knows": (
        edited(with_more("model.layers.0.self_attn.gate_proj.weight")),
        [],
        "builds",
        "model.layers.0.self_attn.gate_proj.weight",
    ),
    "a tensor that is not there": (edited(without(UP)), [], "builds", UP),
    "a tensor of another shape": (edited(narrow), [], "builds", UP),
    "a dead projection": (edited(zero), [], "weights-alive", f"all zeros: {Q}"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_the_name_of_the_tensor(tmp_path: Path, case: str) -> None:
    make, flags, check, words = REFUSED[case]
    make(tmp_path / "m")
    made = gate(tmp_path / "m", *flags, code=1)
    labels = [path.name for path in made.work.iterdir() if path.is_dir() and (path / "convert.json").exists()]
    assert labels
    for label in labels:
        assert made.failed(label) == [check]
        assert words in made.message(check, label)
    assert words in made.text


def test_a_dead_projection_can_be_meant_and_a_nan_cannot(tmp_path: Path) -> None:
    edited(zero)(tmp_path / "m")
    broken("bfloat16", UP, NAN)(tmp_path / "n")
    accept = [{"check": check, "reason": "ablated on purpose"} for check in ("weights-alive", "numbers-finite")]
    user = User(tmp_path / "home")
    recipe = write_recipe(tmp_path / "m.yaml", source="./m", accept=accept[:1])
    ended = user.run("convert", "--recipe", recipe, "--work", tmp_path / "work")
    assert "(accepted: ablated on purpose)" in ended.text
    made = stored(tmp_path / "work/m/4bit/model")
    assert not made[Q.replace("weight", "biases")].any()
    recipe = write_recipe(tmp_path / "n.yaml", source="./n", accept=accept)
    assert "the check 'numbers-finite' is for safety" in user.run("convert", "--recipe", recipe, code=2).text


def test_what_overflows_is_refused_alone_and_then_nothing_is_published(tmp_path: Path) -> None:
    """One number is above the largest of float16, a whole projection below its smallest, and bfloat16 has both."""

    def small(tensors: Tensors) -> None:
        tensors[Q] = bfloat16(float32(tensors[Q]) * np.float32(1e-12))

    broken("bfloat16", UP, int(bfloat16(np.array([1e5], np.float32))[0]))(tmp_path / "m")
    edit_tensors(tmp_path / "m", small)
    variants = [{"dtype": "bfloat16"}, {"dtype": "float16"}, {"bits": 4, "dtype": "float16", "name": "half"}]
    recipe = write_recipe(
        tmp_path / "m.yaml", source="./m", base_model="a/b", to="folder:out/{variant}", variants=variants
    )
    before = digests(tmp_path / "m")
    work = tmp_path / "work"
    ended = User(tmp_path / "home").run("publish", "--recipe", recipe, "--work", work, code=1)
    said = {
        label: {
            one["id"]: one["message"]
            for one in read_json(work / "m" / label / "convert.json")["checks"]
            if one["status"] == "fail"
        }
        for label in ("bf16", "fp16", "half")
    }
    assert said["bf16"] == {}
    assert said["fp16"] == {
        "numbers-finite": f"{UP} overflows in fp16",
        "weights-alive": f"underflows to all zeros in fp16: {Q}",
    }
    assert "numbers-finite" in said["half"]
    assert "overflows in fp16" in ended.text
    model = work / "m/bf16/model"
    assert float32(stored(model)[UP]).max() == pytest.approx(1e5, rel=0.01)
    assert {path.name for path in (work / "m/fp16").iterdir()} == {"inspect.json", "convert.json"}
    assert not (tmp_path / "out").exists()
    assert digests(tmp_path / "m") == before


def test_a_head_that_is_the_embedding_once_more_is_left_out(tmp_path: Path) -> None:
    def twice(tensors: Tensors) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]

    make_model(tmp_path / "twin")
    made = gate(edit_tensors(make_model(tmp_path / "m"), twice), "--dtype", "bfloat16")
    assert made.message("tensors-accounted", "bf16") == "all 21 tensors of the source are accounted for, 1 tied"
    assert set(made.status("bf16").values()) <= {"pass", "skip"}
    assert "lm_head.weight" not in stored(made.model("bf16"))
    assert np.array_equal(logits(made.model("bf16")), logits(tmp_path / "twin"))


def test_a_head_of_its_own_is_kept_without_the_tie_flag(tmp_path: Path) -> None:
    source = edit_tensors(make_model(tmp_path / "m", tie=False), other_head)
    made = gate(source, "--dtype", "bfloat16")
    assert same_tensors(made.model("bf16"), source)


def test_float32_that_is_declared_bfloat16_is_stored_so_as_are_other_types(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", dtype="float32", tie=False, config={"torch_dtype": "bfloat16"})
    as_transformers5(source)
    made = gate(source, "--variants", "4bit,fp16,fp32")
    wanted = {"4bit": ("BF16", "bfloat16"), "fp16": ("F16", "float16"), "fp32": ("F32", "float32")}
    weights = stored(source)
    cast = {"fp16": lambda values: values.astype("float16"), "fp32": lambda values: values}
    for label, (short, long) in wanted.items():
        config = made.config(label)
        assert config["torch_dtype"] == long
        assert "dtype" not in config
        assert set(stored_dtypes(made.model(label)).values()) - {"U32"} == {short}
        for name, array in stored(made.model(label)).items() if label in cast else ():
            assert np.array_equal(array, cast[label](weights[name]))
    assert made.status()["precision"] == "fixed"
    assert made.message("precision") == "float32 in the source, bfloat16 now, as config.json says"
    assert loaded(made.model())[0].model.norm.weight.dtype == mx.bfloat16


def test_exactly_the_indexed_set_is_taken(tmp_path: Path) -> None:
    clean = make_model(tmp_path / "clean/m", shards=2, seed=3)
    source = make_model(tmp_path / "both/m", shards=2, seed=3)
    other = make_model(tmp_path / "other", seed=4) / "model.safetensors"
    for name in ("model.fp16.safetensors", "model-00003-of-00002.safetensors"):
        shutil.copyfile(other, source / name)
    made, wanted = gate(source), gate(clean)
    assert made.status()["one-weight-set"] == "warn"
    assert "model-00003-of-00002.safetensors, model.fp16.safetensors" in made.message("one-weight-set")
    assert digests(made.model()) == digests(wanted.model())
    # Without the index nobody knows which is meant.
    (source / "model.safetensors.index.json").unlink()
    (tmp_path / "none").mkdir()
    made = gate(source.rename(tmp_path / "none/m"), code=1)
    assert made.failed() == ["tensors-once"]
    assert "is in several weight files; which one is loaded is undefined" in made.text


def test_the_index_may_promise_no_more_than_there_is(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", shards=2)
    index = read_json(source / "model.safetensors.index.json")["weight_map"]
    edit_json(source, "model.safetensors.index.json", weight_map={**index, "model.extra": next(iter(index.values()))})
    made = gate(source, code=1)
    assert made.failed() == ["source-index"]
    assert "model.extra" in made.text
