"""A Python with torch and the tests' transformers, made once in the cache.

MLX_PUBLISH_REFERENCE_PYTHON may name another one that has it. Where torch cannot be had, the tests skip.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from mlx_publish.reference.child import VARIABLE

ROOT = Path(__file__).parents[1]
TORCH = "torch==2.13.0"


def torch_python() -> Path:
    """The Python that the user names, else the one in the cache."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    cache = Path(os.environ.get("MLX_PUBLISH_CACHE") or Path(tempfile.gettempdir()) / "mlx-publish-tests")
    transformers = f"transformers=={importlib.metadata.version('transformers')}"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = f"{TORCH}-{transformers}-{version}".replace("==", "-")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):
        if not (cache / name / ".complete").exists():
            make_environment(cache / name, TORCH, transformers, "numpy", "safetensors")
    return cache / name / "bin" / "python"


def make_environment(folder: Path, torch: str, *others: str) -> None:
    """By pip, which may know a file on this disk; a build for CUDA, which is gigabytes, is not taken."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    told = pip(*install, "--dry-run", "--no-deps", "--report", "-", torch)
    url = json.loads(told)["install"][0]["download_info"]["url"]
    if sys.platform == "linux" and "+cpu" not in url.replace("%2B", "+"):
        shutil.rmtree(folder)
        pytest.skip(f"pip would take {url}, which may be a CUDA build of gigabytes; {VARIABLE} may name a Python")
    # Most modules of the two are never imported here: to compile them all would take longer than to install them.
    pip(*install, "--no-compile", "--constraint", str(ROOT / "constraints.txt"), torch, *others)
    (folder / ".complete").touch()


def pip(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"torch cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
