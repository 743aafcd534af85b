"""A quantized source goes the whole way: what it held and what became of that is told, kept and shown."""

from __future__ import annotations

from pathlib import Path

from fp8_source import fp8_source
from pipeline import QUICK, User, read_json, write_recipe


def test_card_and_evidence_say_what_the_source_held_and_what_became_of_it(tmp_path: Path, user: User) -> None:
    fp8_source(tmp_path / "m")
    accepted = [{"check": "answers", "reason": "a tiny random model"}]
    recipe = write_recipe(
        tmp_path / "v.yaml",
        source=str(tmp_path / "m"),
        base_model="acme/Tiny",
        variants=["mxfp8", "bf16"],
        accept=accepted,
        **QUICK,
    )
    user.run("run", "--recipe", recipe, "--work", tmp_path / "work")
    for label, words, repacked in (
        ("mxfp8", "holds 14 weights quantized (fp8, 8 bits); repacked: integers and scales are the source's.", 14),
        ("bf16", "holds 14 weights quantized (fp8, 8 bits); dequantized exactly, rounded once to bfloat16.", 0),
    ):
        model = tmp_path / "work/v" / label / "model"
        evidence = read_json(model / "mlx-publish.json")
        assert evidence["source"]["held"] == {"method": "fp8, 8 bits", "bits": 8, "weights": 14, "dtype": "bfloat16"}
        assert evidence["model"]["read_from"] == {
            "repacked": repacked, "quantized": repacked, "apart": 0, "compared": 196608, "rounded": 0, "off": 0,
        }  # fmt: skip
        ids = {check["id"] for check in evidence["checks"]}
        assert {"source-way", "base-named", "source-read", "source-plausible", "integers-kept"} <= ids
        card = (model / "README.md").read_text(encoding="utf-8")
        assert words in card
        assert "for the comparison, they were dequantized to bfloat16" in card
        assert "base_model: acme/Tiny\n" in card
        assert "quantization_config" not in (model / "config.json").read_text() or label == "mxfp8"


def test_a_quantized_repo_is_not_named_as_the_base_model(tmp_path: Path, user: User) -> None:
    fp8_source(tmp_path / "Tiny-FP8")
    ended = user.run(
        "inspect", "--source", tmp_path / "Tiny-FP8", "--work", tmp_path / "work", "--variants", "mxfp8", "--verbose"
    )
    assert "the source is a quantization of Tiny, its name says, and the card names no base model" in ended.text
    assert "14 weights are held as fp8, 8 bits; they are repacked" in ended.text
