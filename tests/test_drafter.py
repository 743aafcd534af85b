"""Multi-token heads, kept by a recipe: written, proven by mlx-vlm, published, verified, and refused where they must."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx_lm  # noqa: TID251 -- a folder with a drafter is read as any other
import numpy as np
import pytest

import heads
from mlx_publish.children.vision import VARIABLE
from models import make_model
from pipeline import QUICK, User, checks, digests, read_json, write_recipe
from tensor_file import bfloat16, read_tensors

Recipe = Mapping[str, object]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return heads.with_heads(tmp_path / "m")


def recipe(tmp_path: Path, **keys: object) -> Path:
    own: dict[str, Any] = {**QUICK, "source": str(tmp_path / "m"), "variants": ["8bit"], **keys}
    return write_recipe(tmp_path / "r.yaml", **own)


def run(user: User, tmp_path: Path, until: str, *words: object, code: int = 0, **keys: object) -> str:
    path = recipe(tmp_path, **keys)
    return user.run("run", "--recipe", path, "--work", tmp_path / "work", "--until", until, *words, code=code).text


def test_a_drafter_is_proven_by_mlx_vlm_and_published_with_what_it_gains(
    tmp_path: Path, user: User, source: Path, vision_python: Path
) -> None:
    user.more[VARIABLE] = str(vision_python)
    to = f"folder:{tmp_path / 'published' / 'm-MLX'}"
    path = recipe(tmp_path, mtp="keep", to=to)
    user.run("publish", "--recipe", path, "--work", tmp_path / "work")
    published = tmp_path / "published/m-MLX"
    assert checks(tmp_path / "work/r/8bit", "smoke")["mtp-proven"] == "pass"

    evidence = read_json(published / "mlx-publish.json")
    made, proof = evidence["drafter"], evidence["drafter"]["proof"]
    assert (made["model_type"], made["bits"], made["tensors"]) == ("qwen3_5_mtp", None, 15)
    assert {"mtp/config.json", "mtp/model.safetensors"} <= {file["path"] for file in evidence["model"]["files"]}
    assert proof["prompts"] >= 5
    assert proof["differences"] == []
    assert 0.3 < proof["accepted"] / proof["drafted"] <= 1
    assert 1.5 < proof["tokens"] / proof["rounds"] <= made["block_size"]

    card = (published / "README.md").read_text()
    assert 'load_drafter("m-MLX/mtp")' in card
    assert f"accepted {proof['accepted']:,} of {proof['drafted']:,} drafted tokens" in card

    own, theirs = read_tensors(published / "mtp/model.safetensors"), read_tensors(source / "model.safetensors")
    assert own["layers.0.mlp.up_proj.weight"].tobytes() == theirs["mtp.layers.0.mlp.up_proj.weight"].tobytes()
    model, tokenizer = mlx_lm.load(str(published))[:2]
    assert mlx_lm.generate(model, tokenizer, "The moon", max_tokens=3)

    verify = ("verify", published, "--rebuild", "--source", source, "--work", tmp_path / "again")
    assert "verified" in user.run(*verify).text
    broken = published / "mtp/model.safetensors"
    data = bytearray(broken.read_bytes())
    data[-20] ^= 1
    broken.write_bytes(data)
    assert "mtp/model.safetensors" in user.run("verify", published, code=1).text


def test_a_drafter_has_bits_of_its_own_and_mlx_vlm_generates_with_it(
    tmp_path: Path, user: User, source: Path, vision_python: Path
) -> None:
    user.more[VARIABLE] = str(vision_python)
    run(user, tmp_path, "smoke", mtp={"bits": 4, "group_size": 32}, variants=["4bit"])
    variant = tmp_path / "work/r/4bit"
    assert checks(variant, "smoke")["mtp-proven"] == "pass"
    config = read_json(variant / "model/mtp/config.json")
    assert config["quantization"] == {"group_size": 32, "bits": 4, "mode": "affine"}
    assert read_json(variant / "convert.json")["result"]["drafter"]["bits"] == 4
    assert source.is_dir()


def test_without_mlx_vlm_a_drafter_is_held_back_until_somebody_accepts_that(
    tmp_path: Path, user: User, source: Path
) -> None:
    user.more[VARIABLE] = "/nowhere/python"
    said = run(user, tmp_path, "smoke", mtp="keep", code=1)
    assert "refused by mtp-proven" in said
    assert "sh scripts/bootstrap.sh -s vision" in said
    reason = {"check": "mtp-proven", "reason": "proven on another machine"}
    run(user, tmp_path, "card", mtp="keep", accept=[reason])
    card = (tmp_path / "work/r/8bit/model/README.md").read_text()
    assert "It was not tested." in card
    assert source.is_dir()


def test_without_the_key_heads_are_left_out_and_that_is_told(tmp_path: Path, user: User, source: Path) -> None:
    said = run(user, tmp_path, "convert")
    assert "15 tensors of multi-token heads" in said
    assert "--mtp keep" in said
    assert checks(tmp_path / "work/r/8bit", "inspect")["mtp-heads"] == "warn"
    model = tmp_path / "work/r/8bit/model"
    assert not (model / "mtp").exists()
    plain = digests(model)
    shutil.rmtree(tmp_path / "work")
    run(user, tmp_path, "convert", mtp="keep")
    kept = {path: digest for path, digest in digests(model).items() if not path.startswith("mtp/")}
    assert {path for path in plain if plain[path] != kept[path]} == {"config.json"}  # mrope_section
    assert source.is_dir()


def test_a_source_without_heads_has_no_such_check(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "m")
    run(user, tmp_path, "convert")
    found = {**checks(tmp_path / "work/r/8bit", "inspect"), **checks(tmp_path / "work/r/8bit", "convert")}
    assert not [name for name in found if name.startswith("mtp")]


def test_keep_is_refused_of_a_source_without_heads(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "m")
    said = run(user, tmp_path, "inspect", mtp="keep", code=1)
    assert "no drafter can be made: the source has no multi-token heads" in said
    assert "Leave out mtp" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm__weight": None}, "its heads are not whole: norm.weight is missing"),
        ({"layers__0__mlp__up_proj__weight": np.zeros((5, 64), np.uint16)}, "the shape [5, 64]"),
        ({"embed_tokens__weight": np.zeros((64, 64), np.uint16)}, "no place for mtp.embed_tokens.weight"),
    ],
)
def test_heads_that_are_not_those_of_the_model_are_refused_before_anything_is_made(
    tmp_path: Path, user: User, source: Path, changes: dict[str, Any], words: str
) -> None:
    heads.change_heads(source, **changes)
    said = run(user, tmp_path, "convert", mtp="keep", code=1)
    assert words in said
    assert not (tmp_path / "work/r/8bit/model").exists()


def test_a_head_that_is_none_of_numbers_is_refused(tmp_path: Path, user: User, source: Path) -> None:
    broken = np.zeros((64, 128), np.float32)
    broken[7, 7] = np.nan
    bits = (broken.view(np.uint32) >> 16).astype(np.uint16)
    heads.change_heads(source, fc__weight=bits)
    said = run(user, tmp_path, "convert", mtp="keep", code=1)
    assert "mtp.fc.weight contains NaN or infinity" in said
    assert not (tmp_path / "work/r/8bit/model").exists()


def test_heads_whose_norms_have_one_added_already_are_refused(tmp_path: Path, user: User, source: Path) -> None:
    ones = {
        name.removeprefix("mtp.").replace(".", "__"): bfloat16(np.full(len(bits), 1.02, np.float32))
        for name, bits in read_tensors(source / "model.safetensors").items()
        if name.startswith("mtp.") and bits.ndim == 1
    }
    heads.change_heads(source, **ones)
    assert "have one added already" in run(user, tmp_path, "convert", mtp="keep", code=1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("yes please", "must be keep, a width such as 8bit, or a mapping"),
        ({"group_size": 32}, "needs bits"),
        ({"bits": 7}, "bits"),
        ({"bit": 8}, "bit"),
    ],
)
def test_a_wrong_key_is_named_with_its_line(
    tmp_path: Path, user: User, source: Path, value: object, words: str
) -> None:
    said = run(user, tmp_path, "inspect", mtp=value, code=2)
    assert words in said
    assert "mtp" in said
    assert source.is_dir()


def test_the_flag_asks_for_the_same(tmp_path: Path, user: User, source: Path) -> None:
    words = ("--source", source, "--variants", "8bit", "--mtp", "8bit", "--work", tmp_path / "work")
    user.run("convert", *words)
    config = json.loads((tmp_path / "work/m/8bit/model/mtp/config.json").read_text())
    assert config["quantization"]["bits"] == 8
