"""A variant that learns goes the whole way; one that it made worse ends there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models import make_model
from pipeline import User, checks, read_json, write_recipe


def _recipe(tmp_path: Path, *variants: dict[str, Any], **keys: Any) -> Path:
    make_model(tmp_path / "source", hidden=128)
    base: dict[str, Any] = {"source": "../source", "base_model": "acme/base", "to": "folder:../out/{variant}"}
    return write_recipe(tmp_path / "recipes" / "tiny.yaml", **base, variants=list(variants), **keys)


def test_a_learned_variant_is_converted_and_its_evidence_says_how(tmp_path: Path, user: User) -> None:
    wide = {"method": "gptq", "bits": 4, "learning": {"fallback_bits": 8}}
    recipe = _recipe(tmp_path, wide, {"bits": 4})
    user.run("run", "--recipe", recipe, "--work", tmp_path / "work", "--until", "convert")
    folder = tmp_path / "work" / "tiny" / "4bit-gptq"
    result = read_json(folder / "convert.json")["result"]
    told = result["quantization"]
    assert (told["method"], told["deterministic"]) == ("gptq", False)
    assert told["settings"] == {"fallback_bits": 8, "fallback_layers": "model.embed_tokens at 8 bits"}
    assert told["calibration"]["samples"] > 0
    found = {check["id"]: check for check in read_json(folder / "convert.json")["checks"]}
    assert found["bits-per-weight"]["status"] == "warn", "the name says 4 bits"
    assert "gptq rounds model.embed_tokens at 8 bits" in found["bits-per-weight"]["message"]
    assert found["learning-helped"]["status"] == "pass"
    plain = read_json(tmp_path / "work" / "tiny" / "4bit" / "convert.json")["result"]
    assert plain.get("quantization") is None
    assert result["bits_per_weight"] > plain["bits_per_weight"] + 0.25
    ended = user.run("run", "--recipe", recipe, "--work", tmp_path / "work", "--until", "convert", "--json")
    assert "Loss" not in ended.out


def test_a_learned_variant_is_published_with_what_it_gains_over_rounding(tmp_path: Path, user: User) -> None:
    accept = [{"check": name, "reason": "a random model says nothing"} for name in ("answers", "stops", "steady")]
    loose = {"tokens": 512, "min_same_first_choice": 0, "max_mean_kld": 9, "max_perplexity_ratio": 99}
    recipe = _recipe(tmp_path, {"method": "gptq", "bits": 2}, accept=accept, fidelity=loose)
    user.run("publish", "--recipe", recipe, "--work", tmp_path / "work")
    evidence = read_json(tmp_path / "out" / "2bit-gptq" / "mlx-publish.json")
    assert evidence["variant"]["options"] == {"method": "gptq"}
    assert evidence["quantization"]["calibration"]["text"] == "package"
    assert evidence["fidelity"]["gain"]["difference"] < 0
    card = (tmp_path / "out" / "2bit-gptq" / "README.md").read_text(encoding="utf-8")
    assert "--bits 2 --group-size 64 --method gptq`" in card
    block = read_json(tmp_path / "out" / "2bit-gptq" / "config.json")["quantization"]
    assert block == {"group_size": 64, "bits": 2, "mode": "affine"}


def test_a_dwq_that_made_it_worse_is_refused_with_both_numbers_and_the_others_go_on(tmp_path: Path, user: User) -> None:
    rash = {"method": "dwq", "bits": 4, "learning": {"learning_rate": 0.5, "batch_size": 8}}
    recipe = _recipe(tmp_path, rash, {"bits": 8})
    ended = user.run("run", "--recipe", recipe, "--work", tmp_path / "work", "--until", "convert", code=1)
    assert "made the loss worse, from 0." in ended.text
    folder = tmp_path / "work" / "tiny" / "4bit-dwq"
    assert checks(folder, "convert")["learning-helped"] == "fail"
    assert not (folder / "model").exists()
    assert (tmp_path / "work" / "tiny" / "8bit" / "model").is_dir()


def test_a_type_that_awq_does_not_know_is_refused_by_inspect(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "moe", "qwen3_moe")
    ended = user.run(
        "inspect", "--source", tmp_path / "moe", "--bits", "4", "--method", "awq", "--work", tmp_path / "work", code=1
    )
    assert "does not support the model type qwen3_moe" in ended.text
    assert "Use target_bpw" in ended.text
