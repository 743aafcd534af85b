"""Sources that must not be converted are refused by their metadata, with a word on what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from models import MISSING, README, make_model
from pipeline import User, checks, leftovers, read_json, write_recipe

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "ab" * 32 + "\nsize 123456\n"
NO_LICENCE = README.replace("license: apache-2.0\n", "")


def config(**keys: object) -> Callable[[Path], object]:
    return lambda folder: make_model(folder, config=keys)


def no_licence(folder: Path) -> None:
    make_model(folder, license_file=False, readme=NO_LICENCE)


def no_readme(folder: Path) -> None:
    make_model(folder, license_file=False, readme=None)


def broken_front_matter(folder: Path) -> None:
    make_model(folder, license_file=False, readme="---\nlicense: [mit\n---\n")


def other_licence(folder: Path) -> None:
    make_model(folder, readme=README.replace("apache-2.0", "other"))


def missing_shard(folder: Path) -> None:
    make_model(folder, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()


def pointer(folder: Path) -> None:
    make_model(folder)
    (folder / "model.safetensors").write_text(POINTER)


def cut_short(folder: Path) -> None:
    weights = make_model(folder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def pickle_only(folder: Path) -> None:
    (make_model(folder) / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_config(folder: Path) -> None:
    (make_model(folder) / "config.json").unlink()


def broken_config(folder: Path) -> None:
    (make_model(folder) / "config.json").write_text('{\n "model_type": "llama",\n}\n')


def broken_index(folder: Path) -> None:
    make_model(folder)
    (folder / "model.safetensors.index.json").write_text('{"metadata": {}}')


def no_tokenizer(folder: Path) -> None:
    (make_model(folder) / "tokenizer.json").unlink()


CASES: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "an unknown model type": (config(model_type="lama"), "model-type", ["cannot load the model type lama", "llama"]),
    "no model type": (config(model_type=MISSING), "model-type", ["config.json has no model_type"]),
    "no config": (no_config, "model-type", ["no config.json"]),
    "a broken config": (broken_config, "readable", ["config.json:3", "not valid JSON"]),
    "a broken index": (broken_index, "readable", ["model.safetensors.index.json", "weight_map"]),
    "code": (config(model_file="my_model.py"), "no-code", ["code from the model repo (my_model.py)"]),
    "a missing shard": (missing_shard, "weights-present", ["model-00002-of-00003.safetensors"]),
    "a git-lfs pointer": (pointer, "weights-present", ["model.safetensors is a git-lfs pointer", "git lfs pull"]),
    "weights cut short": (cut_short, "readable", ["model.safetensors", "bytes that its header promises"]),
    "a pickle only": (pickle_only, "weights-present", ["no safetensors weights; it has pytorch_model.bin"]),
    "no tokenizer": (no_tokenizer, "tokenizer", ["no tokenizer"]),
    "a form that is not read": (
        config(quantization_config={"quant_method": "quanto", "bits": 4}),
        "unquantized",
        ["already quantized (Quanto, 4 bits"],
    ),
    "MLX's own quantization": (config(quantization={"bits": 4}), "unquantized", ["already quantized (MLX, 4 bits"]),
    "no licence": (no_licence, "licence", ["the licence is unknown", "license: …"]),
    "no README": (no_readme, "licence", ["the source has no README.md"]),
    "broken front matter": (broken_front_matter, "licence", ["not valid YAML at line"]),
    "licence other": (other_licence, "licence", ["'other' without a name and a link"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_source_is_refused_before_anything_is_converted(tmp_path: Path, user: User, case: str) -> None:
    make, check, words = CASES[case]
    make(tmp_path / "m")
    flags = ["--source", tmp_path / "m", "--to", f"folder:{tmp_path / 'out'}", "--work", tmp_path / "work"]
    ended = user.run("publish", *flags, code=1)
    for word in words:
        assert word in ended.text
    variant = tmp_path / "work/m/4bit"
    found = checks(variant, "inspect")
    assert found[check] == "fail"
    assert read_json(variant / "inspect.json")["verdict"] == "refused"
    # No stage but inspect has run.
    assert {path.name for path in variant.iterdir()} == {"inspect.json"}
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("make", [no_licence, no_readme, broken_front_matter, other_licence])
def test_a_licence_in_the_recipe_is_enough(tmp_path: Path, user: User, make: Callable[[Path], object]) -> None:
    make(tmp_path / "m")
    recipe = write_recipe(
        tmp_path / "m.yaml", source="./m", license="other", license_name="house rules", license_link="https://a.b/c"
    )
    user.run("inspect", "--recipe", recipe, "--work", tmp_path / "work")
    licence = read_json(tmp_path / "work/m/4bit/inspect.json")["result"]["licence"]
    assert licence == {"id": "other", "name": "house rules", "link": "https://a.b/c"}


def test_a_refusal_can_be_accepted_with_a_reason_and_the_reason_is_told(tmp_path: Path, user: User) -> None:
    (make_model(tmp_path / "m", readme=NO_LICENCE) / "x.py").write_text("print()")
    accept = [
        {"check": "licence", "reason": "an internal test model"},
        {"check": "weights-alive", "reason": "never dead at all"},
    ]
    recipe = write_recipe(tmp_path / "m.yaml", source="./m", accept=accept)
    ended = user.run("inspect", "--recipe", recipe, "--work", tmp_path / "work")
    assert "(accepted: an internal test model)" in ended.text
    assert "code of the source is neither run nor copied: x.py" in ended.text


def test_code_cannot_be_accepted(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "m", config={"model_file": "x.py"})
    accept = [{"check": "no-code", "reason": "I do trust them, really"}]
    recipe = write_recipe(tmp_path / "m.yaml", source="./m", accept=accept)
    ended = user.run("inspect", "--recipe", recipe, "--work", tmp_path / "work", code=2)
    assert "the check 'no-code' is for safety and cannot be accepted" in ended.text


def test_reports_can_be_had_as_json(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "m", config={"model_type": "lama"})
    ended = user.run("inspect", "--source", tmp_path / "m", "--work", tmp_path / "work", "--json", code=1)
    assert json.loads(ended.out)["4bit"]["inspect"] == read_json(tmp_path / "work/m/4bit/inspect.json")
    assert "FAIL model-type" in " ".join(ended.err.split())


def test_what_is_refused_by_its_metadata_stops_no_other_variant(tmp_path: Path, user: User) -> None:
    source = make_model(tmp_path / "m")
    first = {"bits": 4, "group_size": 128}  # does not divide 64 columns
    recipe = write_recipe(tmp_path / "r.yaml", source=str(source), variants=[first, "8bit"])
    said = user.run("fidelity", "--recipe", recipe, "--work", tmp_path / "work", code=1).text
    assert "1 of 2 refused: 4bit-gs128" in said
    assert checks(tmp_path / "work/r/4bit-gs128", "inspect")["groups-fit"] == "fail"
    assert checks(tmp_path / "work/r/8bit", "inspect")["room"] == "pass"
    assert read_json(tmp_path / "work/r/8bit/fidelity.json")["verdict"] == "pass"
