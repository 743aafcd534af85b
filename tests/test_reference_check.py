"""The unquantized MLX model beside transformers: equal where it is equal, and every known deviation is seen.

torch lies in the environment of the session `reference`; MLX_PUBLISH_REFERENCE_PYTHON may name another Python.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conftest import once
from families import FAMILIES
from gate import as_transformers5, edit_json, edit_tensors
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.reference import MAX_NMSE, REFERENCE, ROUNDING, ReferenceFacts
from mlx_publish.children.torch import NOT_INSTALLED, VARIABLE, Torch
from mlx_publish.context import Context
from mlx_publish.evidence.proof import Compared, LogitsRead
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.report import Finding
from mlx_publish.recipes.read import recipe_from_flags
from mlx_publish.source import transformers_check
from mlx_publish.source.transformers_check import compare_folders, proof_of, reference_facts, reference_inputs
from mlx_publish.stages import inspect_stage
from mlx_publish.stages.runner import run_stages
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import ARCHITECTURES, make_model
from pipeline import leftovers, read_json
from shapes import CLASSES
from tiny_tokenizer import write_json

ROOT = Path(__file__).parents[1]
TEXTS = transformers_check.texts()
THETA = 500_000.0  # the default of no class that is used here
LINEAR = {"rope_type": "linear", "type": "linear", "factor": 4.0}
LLAMA3 = {
    "rope_type": "llama3",
    "type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
# gpt-oss has these numbers, and `truncate` false.
YARN = {
    "rope_type": "yarn",
    "type": "yarn",
    "factor": 32.0,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}
LONG = {
    "rope_type": "longrope",
    "type": "longrope",
    "short_factor": [1.0] * 8,
    "long_factor": [1.0 + n / 40 for n in range(8)],
}
FIRST = {"original_max_position_embeddings": 256}
Keys = Mapping[str, Any]

MLX = """
import json, sys
from mlx_publish.engine.reference_logits import logits
from mlx_publish.evidence.records import to_json
for source, texts, store, told in json.load(open(sys.argv[1])):
    json.dump(to_json(logits(source, texts, store, lambda _: None)), open(told, "w"))
"""
REFERENCE_SIDE = """
import json, sys
from mlx_publish.torch_check.__main__ import answer
for source, logits, told in json.load(open(sys.argv[1])):
    json.dump(answer({"source": source, "logits": logits}), open(told, "w"))
"""


@dataclass(frozen=True)
class Case:
    """A model, what mlx-lm is told of it instead, as if its class ignored the key, and what has to come out."""

    status: str
    arch: str = "llama"
    keys: Keys = field(default_factory=dict)
    read: Keys = field(default_factory=dict)
    original: Keys = field(default_factory=dict)
    """What transformers alone is told."""
    without: str = ""
    """A tensor that transformers is not given."""
    make: Keys = field(default_factory=dict)


THETAS: Keys = {"rope_theta": THETA}
PLAIN: Keys = {"rope_theta": 10_000.0}
SCALED: Mapping[str, Keys] = {
    "linear": {"rope_scaling": LINEAR},
    "llama3": {"rope_scaling": LLAMA3, **THETAS},
    "yarn": {"rope_scaling": YARN, **THETAS},
    "dynamic": {"rope_scaling": {"rope_type": "dynamic", "type": "dynamic", "factor": 4.0}},
}
CASES: dict[str, Case] = {
    **{f"equal {arch}": Case("pass", arch, make={"tie": arch == "gemma2"}) for arch in ARCHITECTURES},
    **{
        f"equal {arch}": Case("pass", arch, make={"tie": arch != "deepseek_v3", "layers": 4})
        for arch in FAMILIES  # qwen3_5 is a wrapper, and its norms are folded
    },
    **{f"scaled {kind}": Case("pass", keys=keys) for kind, keys in SCALED.items()},
    "a window": Case("pass", "mistral", {"sliding_window": 512}),
    **{f"theta of {arch}": Case("fail", arch, THETAS, PLAIN) for arch in ("llama", "qwen2", "gemma2", "phi3")},
    "theta off by a twentieth": Case("fail", keys={"rope_theta": 10_500.0}, read=PLAIN),
    "scaling ignored": Case("fail", keys={"rope_scaling": LLAMA3, **THETAS}, read={"rope_scaling": None}),
    "head tied by mlx-lm": Case("fail", read={"tie_word_embeddings": True}, make={"tie": False}),
    "head beside the flag": Case("fail", keys={"tie_word_embeddings": True}, make={"tie": False}),
    "short factors": Case("fail", "phi3", {"rope_scaling": LONG, **FIRST}),
    "one set of factors": Case(
        "pass", "phi3", {"rope_scaling": {**LONG, "short_factor": LONG["long_factor"]}, **FIRST}
    ),
    "a range not rounded": Case(
        "fail", keys={"rope_theta": 150_000.0, "rope_scaling": {**YARN, "truncate": False}}, make={"hidden": 256}
    ),
    "epsilon": Case("warn", read={"rms_norm_eps": 1e-6}),
    "another gelu": Case("warn", "gemma2", original={"hidden_activation": "gelu"}),
    "unknown type": Case("skip", original={"model_type": "unheard-of"}),
    "missing weight": Case("skip", without="model.norm.weight"),
    "own code": Case("skip", original={"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}),
}


def inspected(source: Path) -> Context:
    """A run that has looked at the source and nothing more."""
    flags = {"source": str(source), "license": "apache-2.0"}
    recipe = recipe_from_flags(flags)
    context = Context(recipe, recipe.variants, Work(source.parent / "work", recipe.name), Console(io.StringIO()))
    assert run_stages(context, (inspect_stage.STAGE,)) == ()
    return context


def judged(facts: ReferenceFacts) -> Finding:
    return run_checks(REFERENCE, facts)[0]


def make_case(folder: Path, case: Case) -> None:
    original = make_model(folder / "original", case.arch, config=case.keys, **case.make)
    edit_json(shutil.copytree(original, folder / "read"), "config.json", **case.read)
    edit_json(original, "config.json", **case.original)
    (original / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    if case.without:
        edit_tensors(original, lambda tensors: tensors.pop(case.without))


def compare_all(python: Path, root: Path) -> None:
    """Both sides of all cases, in one process each: to start them takes longer than all that they compute."""
    folders = {name: root / name.replace(" ", "-") for name in CASES}
    for name, folder in folders.items():
        make_case(folder, CASES[name])
    stores = {folder: f"{folder}/logits.safetensors" for folder in folders.values()}
    ask(sys.executable, MLX, root, [(f"{f}/read", TEXTS, store, f"{f}/told") for f, store in stores.items()])
    ask(str(python), REFERENCE_SIDE, root, [(f"{f}/original", store, f"{f}/answer") for f, store in stores.items()])


def ask(python: str, script: str, root: Path, order: object) -> None:
    write_json(root / "order.json", order)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [python, "-c", script, str(root / "order.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def root(torch_python: Path, shared: Path) -> Path:
    return once(shared / "reference", lambda root: compare_all(torch_python, root))


@pytest.fixture
def facts(root: Path) -> Callable[[str], ReferenceFacts]:
    """What was found of a case."""

    def of(name: str) -> ReferenceFacts:
        answer = read_json(root / name.replace(" ", "-") / "answer")
        if "reason" in answer:
            return ReferenceFacts(None, answer["reason"])
        torch = Torch(Path(sys.executable), {"torch": "2", "transformers": "5"})
        told = read_json(root / name.replace(" ", "-") / "told")
        proof = proof_of(from_json(Compared, answer["result"]), from_json(LogitsRead, told), torch)
        return ReferenceFacts(proof)

    return of


def result_of(facts: ReferenceFacts) -> dict[str, Any]:
    assert facts.proof is not None
    result: dict[str, Any] = to_json(facts.proof)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_is_equal_passes_and_what_deviates_is_seen(facts: Callable[[str], ReferenceFacts], name: str) -> None:
    case, found = CASES[name], facts(name)
    finding = judged(found)
    assert (finding.id, finding.status) == ("architecture-proven", case.status)
    if case.status == "skip":
        return
    result = result_of(found)
    assert (result["sequences"], result["positions"]) == (4, 256)
    assert result["class"] == CLASSES[case.arch]
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    # Ten times of distance on both sides of what rounding makes; what is refused is over its limit, not at it.
    low, high = {"pass": (0, ROUNDING / 10), "warn": (10 * ROUNDING, MAX_NMSE / 2), "fail": (2 * MAX_NMSE, 10)}[
        case.status
    ]
    assert low < result["nmse"] < high
    assert bool(finding.remedy) == (case.status != "pass")


@pytest.mark.slow
def test_a_head_that_is_tied_away_leaves_nothing_of_the_model(facts: Callable[[str], ReferenceFacts]) -> None:
    for name in ("head tied by mlx-lm", "head beside the flag"):
        result = result_of(facts(name))
        assert result["nmse"] > 1
        assert result["same_first_choice"] < 0.1


@pytest.mark.slow
def test_the_short_factors_of_longrope_that_mlx_lm_has_not_are_named(facts: Callable[[str], ReferenceFacts]) -> None:
    found = facts("short factors")
    assert "at every length what is meant for texts longer than 256 positions" in judged(found).message
    beyond = result_of(found)["beyond_context"]
    assert beyond["original_context"] == 256
    assert beyond["nmse"] < ROUNDING / 10
    assert "not covered" not in judged(facts("one set of factors")).message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scaled dynamic", "; not covered: rope beyond 2048 positions"),
        ("a window", "; not covered: the sliding window of 512 positions"),
        ("scaled yarn", "same first choice at 100.0 % of positions"),
    ],
)
def test_what_shows_only_in_longer_texts_is_told(facts: Callable[[str], ReferenceFacts], name: str, words: str) -> None:
    assert judged(facts(name)).message.endswith(words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unknown type", "transformers cannot compute it: ValueError: "),
        ("unknown type", "unheard-of"),
        ("missing weight", "it finds no weights for model.norm.weight"),
        ("own code", "transformers cannot compute it"),
    ],
)
def test_what_transformers_cannot_compute_is_skipped_with_the_reason(
    root: Path, facts: Callable[[str], ReferenceFacts], name: str, words: str
) -> None:
    assert words in judged(facts(name)).message
    assert not list(root.glob("*/ran")), "code of a source was run"


@pytest.mark.slow
def test_it_is_done_once_for_a_source(tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch) -> None:
    # mlx-lm reads the newer spelling only as it is prepared for it, and transformers as it is.
    source = as_transformers5(make_model(tmp_path / "m", config=THETAS, shards=3))
    # Neither has a say: mlx-lm and transformers are shown the weights that were chosen.
    shutil.copyfile(make_model(tmp_path / "o", seed=1) / "model.safetensors", source / "consolidated.safetensors")
    (source / "adapter_config.json").write_text("{}")
    context = inspected(source)
    first = reference_facts(context)
    context.children.end()
    assert judged(first).status == "pass"
    assert result_of(first)["versions"] == torch.versions
    assert f"transformers {torch.versions['transformers']}" in judged(first).message
    assert not leftovers(tmp_path)
    monkeypatch.setattr(transformers_check, "run_job", lambda *_: pytest.fail("it was computed again"))
    assert reference_facts(context) == first
    # With other texts it is not known any more.
    monkeypatch.setattr(transformers_check, "_texts", list)
    with pytest.raises(pytest.fail.Exception):
        reference_facts(context)


@pytest.mark.slow
def test_the_base_that_mlx_lm_misses_in_a_config_of_transformers_5_is_refused(tmp_path: Path, torch: Torch) -> None:
    source = as_transformers5(make_model(tmp_path / "m", config=THETAS))
    found = compare_folders(source, source, torch, tmp_path / "logits.safetensors", tmp_path / "logs", lambda _: None)
    assert judged(found).status == "fail"
    assert result_of(found)["nmse"] > 0.1


def test_without_torch_it_is_skipped_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: name != "torch" and there(name, *more))
    context = inspected(make_model(tmp_path / "m"))
    found = judged(reference_facts(context))
    assert found.status == "skip"
    assert NOT_INSTALLED in found.message
    assert "sh scripts/bootstrap.sh -s reference" in NOT_INSTALLED
    # With torch there, the report is not up to date any more.
    assert reference_inputs(context)["reference"] == {}


def test_a_source_that_does_not_fit_is_skipped_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = inspected(make_model(tmp_path / "m"))
    context._kept["torch"] = Torch(Path(sys.executable), {"torch": "2", "transformers": "5"})
    monkeypatch.setenv("MLX_PUBLISH_MEMORY_BYTES", "500000")
    found = judged(reference_facts(context))
    assert found.status == "skip"
    assert "in float32, too much for" in found.message
