"""Through the command line: what inspect refuses, how it says so, and how little it reads for that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headers import POINTER, header_bytes, index_bytes
from hub import Hub
from models import MISSING, make_model

ROOT = Path(__file__).parents[1]


def run(*words: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "mlx_publish", "inspect", *map(str, words)],
        env={"PYTHONPATH": str(ROOT / "scripts"), "PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def config(**keys: object) -> Callable[[Path], object]:
    return lambda folder: make_model(folder, config=keys)


def written(path: str, content: bytes) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        (make_model(folder) / path).write_bytes(content)

    return make


def cut_short(folder: Path) -> None:
    weights = make_model(folder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def half_a_set(folder: Path) -> None:
    make_model(folder, shards=3)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model-00002-of-00003.safetensors").unlink()


def narrow(folder: Path) -> None:
    make_model(folder, hidden=144)


CASES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no model type": (config(model_type=MISSING), "model-type", "config.json has no model_type"),
    "an encoder": (config(architectures=["LlamaModel"]), "language-head", "LlamaModel has no language-model head"),
    "a broken config": (written("config.json", b"{\n,}"), "readable", "config.json:2: not valid JSON"),
    "a broken tokenizer": (written("tokenizer.json", b"{"), "readable", "tokenizer.json:1: not valid JSON"),
    "a pointer": (written("model.safetensors", POINTER), "weights-present", "model.safetensors is a git-lfs pointer"),
    "cut short": (cut_short, "readable", "model.safetensors: has"),
    "half a set": (half_a_set, "weights-present", "missing: model-00002-of-00003.safetensors"),
    "an index that leaves": (
        written("model.safetensors.index.json", index_bytes({"a": "../../x.safetensors"})),
        "paths-inside",
        "../../x",
    ),
    "HQQ": (config(quantization_config={"quant_method": "hqq", "nbits": 4}), "unquantized", "HQQ, 4 bits"),
    "groups that miss": (narrow, "groups-fit", "would stay unquantized"),
    "no end": (config(eos_token_id=999), "stop-ids", "the EOS id 999 is outside"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_first_line_has_the_reason(tmp_path: Path, case: str) -> None:
    make, check, words = CASES[case]
    make(tmp_path / "m")
    done = run("--source", tmp_path / "m", "--work", tmp_path / "work")
    text = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert re.search(rf"FAIL {check} 4bit: ", text)
    assert words in text.partition(f"FAIL {check} 4bit: ")[2]
    assert "Next for 4bit: " in text
    report = json.loads((tmp_path / "work/m/4bit/inspect.json").read_text())
    assert [one["id"] for one in report["checks"] if one["status"] == "fail"] == [check]


def test_a_model_may_not_write_into_the_heading(tmp_path: Path) -> None:
    make_model(tmp_path / "m", config={"model_type": "x\n::error::\x1b[31m"})
    done = run("--source", tmp_path / "m", "--work", tmp_path / "work")
    assert "\x1b" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith("::")]


@pytest.mark.parametrize(
    ("accept", "words"),
    [
        ("licens", "r.yaml:4: accept[0].check: unknown check 'licens'"),
        ("no-code", "r.yaml:4: accept[0].check: the check 'no-code' is for safety"),
    ],
)
def test_a_wrong_acceptance_is_bad_input(tmp_path: Path, accept: str, words: str) -> None:
    make_model(tmp_path / "m")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"source: ./m\nto: folder:out\naccept:\n  - check: {accept}\n    reason: because it is so\n")
    done = run("--recipe", recipe, "--work", tmp_path / "work")
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "work").exists()


def put_sparse(hub: Hub, name: str, shards: int, each: int) -> None:
    """Add shards of which only the headers take room on the disk."""
    repo = hub.store.find(name)
    assert repo
    files: dict[str, Any] = {}
    for number in range(1, shards + 1):
        entry = {"dtype": "BF16", "shape": [each // 2], "data_offsets": [0, each]}
        content = header_bytes({f"w{number}": entry, "__metadata__": {"pad": "x" * 90_000}})
        digest = f"{number:064x}"
        with repo.object(digest).open("wb") as stream:
            stream.write(content)
            stream.truncate(len(content) + each)
        files[f"model-{number:05}-of-{shards:05}.safetensors"] = repo.lfs_file(digest)
    repo.commit("main", repo.resolve("main").files | files, "weights")


def test_100_gb_are_refused_for_next_to_nothing(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", config={"model_type": "gpt_tomorrow"})
    (model / "model.safetensors").unlink()
    with Hub(tmp_path / "hub") as hub:
        hub.put("acme/Huge", {path.name: path for path in model.iterdir()})
        put_sparse(hub, "acme/Huge", 50, 2 * 10**9)
        before = len(hub.log)
        done = run(
            "--source", "acme/Huge", "--work", tmp_path / "work", environment=hub.environment("read", tmp_path / "home")
        )
        log = hub.log[before:]
    assert done.returncode == 1
    assert "cannot load the model type gpt_tomorrow" in " ".join(done.stdout.split())
    assert sum(one.sent for one in log) < 2_000_000
    assert not [one for one in log if "safetensors" in one.path]


def test_a_file_cut_short_on_the_hub_is_seen_by_its_size(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with Hub(tmp_path / "hub") as hub:
        hub.put("acme/Cut", {path.name: path for path in model.iterdir()})
        done = run(
            "--source", "acme/Cut", "--work", tmp_path / "work", environment=hub.environment("read", tmp_path / "home")
        )
    assert done.returncode == 1
    assert "model.safetensors: has" in " ".join(done.stdout.split())


def test_a_pointer_on_the_hub_is_named(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    (model / "model.safetensors").write_bytes(POINTER)
    with Hub(tmp_path / "hub") as hub:
        hub.put("acme/Pointer", {path.name: path.read_bytes() for path in model.iterdir()})
        done = run(
            "--source",
            "acme/Pointer",
            "--work",
            tmp_path / "work",
            environment=hub.environment("read", tmp_path / "home"),
        )
    assert done.returncode == 1
    assert "model.safetensors is a git-lfs pointer" in " ".join(done.stdout.split())
