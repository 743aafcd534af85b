"""What mlx-lm can load is found out without importing it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import mlx_publish
from mlx_publish.converters.mlx_lm import CONVERTER
from mlx_publish.machine import packages
from mlx_publish.machine.packages import versions

ASK = """
import json, sys
from mlx_publish.converters.mlx_lm import CONVERTER
support = CONVERTER.support()
heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"mlx", "mlx_lm", "transformers", "numpy", "torch"})
print(json.dumps({"version": support.version, "types": sorted(support.types), "heavy": heavy}))
"""


def test_types_are_found_and_mlx_is_not_imported() -> None:
    root = Path(mlx_publish.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, check=True
    )
    support = json.loads(done.stdout)
    assert support["heavy"] == []
    assert support["version"] == version("mlx-lm")
    assert {"llama", "mistral", "qwen3", "gemma2", "phi3"} <= set(support["types"])
    assert not {"base", "cache", "rope_utils", "switch_layers", "__init__", "gpt17"} & set(support["types"])


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An mlx-lm made by hand."""
    (tmp_path / "models").mkdir()
    spec = ModuleSpec("mlx_lm", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    monkeypatch.setattr("mlx_publish.converters.mlx_lm.version", lambda _: "9.9")
    (tmp_path / "utils.py").write_text("raise SystemExit\nMODEL_REMAPPING = {'mistral': 'llama'}\n")
    return tmp_path


def test_modules_with_arguments_are_architectures_and_names_are_remapped(installed: Path) -> None:
    code = "raise SystemExit\nclass ModelArgs:\n    pass\n"
    for name in ("llama", "base", "cache"):
        (installed / "models" / f"{name}.py").write_text(code)
    (installed / "models" / "helpers.py").write_text("raise SystemExit\n")
    support = CONVERTER.support()
    assert support is not None
    assert (support.version, set(support.types)) == ("9.9", {"llama", "mistral"})


def test_without_a_mapping_there_are_only_modules(installed: Path) -> None:
    (installed / "utils.py").write_text("x = 1\n")
    support = CONVERTER.support()
    assert support is not None
    assert support.types == frozenset()


@pytest.mark.parametrize("spec", [None, ModuleSpec("mlx_lm", None)])
def test_where_it_is_not_installed_nothing_is_known(monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert CONVERTER.support() is None


def test_versions_leave_out_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert versions()["huggingface-hub"] == version("huggingface-hub")

    def only(name: str) -> str:
        if name != "mlx":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(packages, "version", only)
    assert versions() == {"mlx": "1.0"}
