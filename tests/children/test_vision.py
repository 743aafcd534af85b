"""Which Python has mlx-vlm, and what a child in it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vision_environment
from mlx_publish.children import vision
from mlx_publish.children.other_python import Python
from mlx_publish.children.vision import NOT_INSTALLED, VARIABLE, NoVision, find_vision, generate

Script = Callable[[str], Path]


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Put a shell script in the place of the named Python."""

    def put(text: str) -> Path:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setenv(VARIABLE, str(path))
        return path

    return put


def versions(mlx_vlm: str) -> str:
    told = json.dumps({"mlx-vlm": mlx_vlm, "mlx": "0.32.4", "transformers": "5.24.0"})
    return f"case \"$*\" in *find_spec*) ;; *) echo '{told}' ;; esac"


@pytest.mark.parametrize("version", ["0.7.10", "0.7.11", "0.7.10.post1"])
def test_a_known_version_is_taken(python: Script, version: str) -> None:
    path = python(versions(version))
    assert find_vision().python == path
    assert find_vision().versions["mlx-vlm"] == version


@pytest.mark.parametrize("version", ["0.7.9", "0.8.0", "1.0", "0.6"])
def test_another_version_is_not(python: Script, version: str) -> None:
    python(versions(version))
    with pytest.raises(NoVision, match=f"mlx-vlm {version} is not known"):
        find_vision()


def test_a_python_without_it_is_named(python: Script) -> None:
    path = python("exit 1")
    with pytest.raises(NoVision, match=f"{path} .from {VARIABLE}. does not have mlx-vlm, mlx and transformers"):
        find_vision()


def test_what_is_no_python_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere/python")
    with pytest.raises(NoVision, match="is not a Python"):
        find_vision()


def test_without_any_that_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(vision, "_PACKAGES", ("mlx-vlm-of-nobody",))
    with pytest.raises(NoVision) as raised:
        find_vision()
    assert str(raised.value) == NOT_INSTALLED


def test_a_child_that_breaks_is_a_reason_with_its_last_line(tmp_path: Path, python: Script) -> None:
    path = python("read line; echo Metal is gone >&2; exit 3")
    answer = generate(Python(path), {"model": "m"}, tmp_path / "log", 20)
    assert answer.result is None
    assert answer.reason == "the child with mlx-vlm ended with 3: Metal is gone"


def test_a_config_that_names_code_is_not_loaded(tmp_path: Path, vision_python: Path) -> None:
    for name in ("model", "drafter"):
        (tmp_path / name).mkdir()
        config: dict[str, Any] = {"model_type": "llama", "model_file": "evil.py"}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        (tmp_path / name / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    order = {
        "model": str(tmp_path / "model"),
        "drafter": str(tmp_path / "drafter"),
        "prompts": [{"ids": [1, 2]}],
        "stops": [],
        "tokens": 4,
        "float32": True,
    }
    answer = generate(Python(vision_python), order, tmp_path / "log", 120)
    assert "names code of its own (model_file)" in answer.reason
    assert not (tmp_path / "ran").exists()


def test_the_environment_has_mlx_vlm_alone_and_what_text_needs_by_the_locks_hashes() -> None:
    lines = vision_environment.requirements().splitlines()
    names = {line.partition("==")[0] for line in lines if "==" in line}
    assert {"mlx-vlm", "pillow", "mlx", "transformers", "tokenizers", "requests", "tqdm", "numpy"} <= names
    assert not names & {"datasets", "opencv-python", "mlx-audio", "fastapi", "torch", "mlx-cuda-13"}
    entries = vision_environment.requirements().count("==")
    assert vision_environment.requirements().count("--hash=sha256:") >= entries
