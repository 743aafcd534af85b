"""What inspect says of a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.source import INSPECT, SourceFacts
from mlx_publish.model.card import SourceCard
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.files import FileEntry
from mlx_publish.model.tokenizer import TokenizerInfo
from mlx_publish.model.weights import TensorInfo
from mlx_publish.report import Finding
from samples import COMMIT, make_recipe

TENSOR = TensorInfo("a.weight", "BF16", (64, 64), 8192)
TOKENS = TokenizerInfo("GPT2Tokenizer", True, {"default": "T"}, ("tokenizer_config.json",), (2, 7), {})
TYPES = frozenset({"llama", "gemma2", "gemma3", "phi3"})
GOOD = SourceFacts(
    recipe=make_recipe(revision=COMMIT),
    variant=make_recipe().variants[0],
    identity=COMMIT,
    entries={path: FileEntry(path, 9999) for path in ("config.json", "model.safetensors", "tokenizer.json")},
    config=ModelConfig({"model_type": "llama"}),
    tokenizer=TOKENS,
    card=SourceCard({"license": "mit", "base_model": "up/stream"}),
    weights=("model.safetensors",),
    headers={"model.safetensors": (TENSOR,)},
    mlx_lm=("0.32.2", TYPES),
    taken={"acme/Tiny-4bit": False},
)


def find(check: str, facts: SourceFacts) -> Finding:
    (found,) = (finding for finding in run_checks(INSPECT, facts) if finding.id == check)
    return found


def entries(*paths: str, size: int = 9999) -> dict[str, FileEntry]:
    return {path: FileEntry(path, size) for path in paths}


def config(**raw: Any) -> dict[str, Any]:
    return {"config": ModelConfig({"model_type": "llama", **raw})}


def test_a_good_source_passes_every_check() -> None:
    found = run_checks(INSPECT, GOOD)
    assert [finding.id for finding in found] == [
        "revision", "model-type", "no-code", "weights-present", "one-weight-set", "unquantized", "tokenizer",
        "chat-template", "stop-ids", "licence", "not-taken",
    ]  # fmt: skip
    assert {finding.status for finding in found} == {"pass"}
    words = " ".join(finding.message for finding in found)
    for named in (
        COMMIT,
        "mlx-lm 0.32.2",
        "llama",
        "1 tensors",
        "tokenizer_config.json",
        "2, 7",
        "mit",
        "acme/Tiny-4bit",
    ):
        assert named in words


FAILING: list[tuple[str, dict[str, Any], str, str]] = [
    ("model-type", {"config": ModelConfig({})}, "no config.json", "Hugging Face layout"),
    ("model-type", {"config": ModelConfig({"x": 1})}, "no model_type", "Add it"),
    ("model-type", config(model_type="gemma9"), "cannot load the model type gemma9", "gemma"),
    ("model-type", config(model_type="zzz"), "0.32.2 cannot load the model type zzz", "newer mlx-lm"),
    ("model-type", config(model_type="gem-ma2"), "cannot load the model type gem-ma2", "gemma2"),
    ("no-code", config(model_file="custom.py"), "custom.py", "Take a source without it."),
    (
        "weights-present",
        {"weights": (), "entries": entries("pytorch_model.bin", "x.gguf")},
        "no safetensors weights; it has pytorch_model.bin, x.gguf",
        "safetensors",
    ),
    ("weights-present", {"weights": (), "entries": {}}, "no safetensors weights", "safetensors"),
    (
        "weights-present",
        {"weights": ("model-00001-of-00002.safetensors", "model.safetensors")},
        "not there: model-00001-of-00002.safetensors",
        "Complete the source.",
    ),
    (
        "weights-present",
        {"entries": entries("model.safetensors", size=130), "headers": {}},
        "model.safetensors is a git-lfs pointer",
        "git lfs pull",
    ),
    ("unquantized", config(quantization_config={"quant_method": "awq", "bits": 4}), "(awq)", "from: up/stream."),
    ("unquantized", config(quantization={"bits": 4}), "(4 bits by MLX)", "from: up/stream."),
    (
        "unquantized",
        {**config(quantization={}), "card": SourceCard({"license": "mit"})},
        "(? bits by MLX)",
        "made from.",
    ),
    (
        "tokenizer",
        {"tokenizer": replace(TOKENS, fast=False), "entries": entries("config.json")},
        "no tokenizer",
        "Complete the source.",
    ),
    ("licence", {"card": SourceCard()}, "no licence is known", "license: …"),
    (
        "licence",
        {"card": SourceCard(problem="the source has no README.md")},
        "(the source has no README.md)",
        "license",
    ),
    ("licence", {"card": SourceCard({"license": ["mit"]})}, "no licence is known", "license"),
    ("licence", {"card": SourceCard({"license": "other"})}, "'other'", "license_name and license_link"),
    (
        "licence",
        {"card": SourceCard({"license": "other", "license_name": "x"})},
        "'other' without a name and a link",
        "license_link",
    ),
]


@pytest.mark.parametrize(("check", "changes", "message", "remedy"), FAILING)
def test_failures_name_cause_and_next_step(check: str, changes: dict[str, Any], message: str, remedy: str) -> None:
    found = find(check, replace(GOOD, **changes))
    assert (found.id, found.status) == (check, "fail")
    assert message in found.message
    assert remedy in found.remedy


WARNING: list[tuple[str, dict[str, Any], str]] = [
    ("revision", {"recipe": make_recipe()}, f"the default branch is commit {COMMIT}"),
    ("revision", {"recipe": make_recipe(revision="main")}, f"main is commit {COMMIT}"),
    ("no-code", {"entries": entries("b.py", "sub/a.py")}, "b.py, sub/a.py"),
    (
        "one-weight-set",
        {"entries": entries("model.safetensors", "model.fp16.safetensors", "sub/x.safetensors")},
        "another set of weights: model.fp16.safetensors",
    ),
    ("tokenizer", {"tokenizer": replace(TOKENS, fast=False), "entries": entries("tokenizer.model")}, "older files"),
    ("chat-template", {"tokenizer": replace(TOKENS, templates={}, template_places=())}, "no chat template"),
    (
        "chat-template",
        {"tokenizer": replace(TOKENS, template_places=("chat_template.jinja", "tokenizer_config.json"))},
        "chat_template.jinja and tokenizer_config.json; the first one applies",
    ),
    ("stop-ids", {"tokenizer": replace(TOKENS, stop_ids=())}, "names an end token"),
    ("not-taken", {"taken": {"acme/a": False, "acme/b": True}}, "exists already: acme/b"),
]


@pytest.mark.parametrize(("check", "changes", "message"), WARNING)
def test_warnings_name_the_thing(check: str, changes: dict[str, Any], message: str) -> None:
    found = find(check, replace(GOOD, **changes))
    assert (found.status, found.id) == ("warn", check)
    assert message in found.message


def test_a_branch_is_told_how_to_be_pinned() -> None:
    assert f"revision: {COMMIT}" in find("revision", replace(GOOD, recipe=make_recipe(revision="main"))).remedy


@pytest.mark.parametrize(("check", "changes"), [("model-type", {"mlx_lm": None}), ("not-taken", {"taken": {}})])
def test_what_cannot_be_known_is_skipped(check: str, changes: dict[str, Any]) -> None:
    assert find(check, replace(GOOD, **changes)).status == "skip"


def test_a_folder_is_identified_by_its_digest(tmp_path: Path) -> None:
    found = find("revision", replace(GOOD, recipe=make_recipe(folder=tmp_path), identity="f" * 64))
    assert (found.status, "f" * 12 in found.message) == ("pass", True)


@pytest.mark.parametrize(
    ("keys", "card", "words"),
    [
        ({"license": "apache-2.0"}, {"license": "mit"}, "apache-2.0"),
        ({"license": "apache-2.0"}, {}, "apache-2.0"),
        ({}, {"license": "other", "license_name": "Own", "license_link": "LICENSE"}, "Own"),
        ({"license_name": "Own", "license_link": "https://x.org"}, {"license": "other"}, "Own"),
        (
            {"license": "other", "license_name": "Own", "license_link": "https://x.org"},
            {"license": "mit", "license_name": "Theirs"},
            "Own",
        ),
    ],
)
def test_the_recipe_says_the_licence_before_the_card(keys: dict[str, Any], card: dict[str, Any], words: str) -> None:
    found = find("licence", replace(GOOD, recipe=make_recipe(**keys), card=SourceCard(card)))
    assert (found.status, found.message) == ("pass", f"the licence is {words}")
