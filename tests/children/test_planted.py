"""Nothing of the current folder is ever imported: a module of every name of the standard library is planted there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlx_publish.children.process import python
from models import make_model
from pipeline import QUICK, ROOT, User, write_recipe

OURS = (
    "jinja2",
    "numpy",
    "yaml",
    "ruamel",
    "pydantic",
    "huggingface_hub",
    "tokenizers",
    "transformers",
    "torch",
    "mlx",
    "mlx_lm",
    "requests",
    "filelock",
    "mlx_publish",
    "sitecustomize",
    "usercustomize",
    "nox",
)
PLANTED = "import os\nopen({mark!r}, 'a').write(__name__ + '\\n')\nos._exit(0)\n"


def plant(folder: Path, mark: Path) -> None:
    """Put a module of each name there that says that it ran, and ends the process as if all were well."""
    for name in (*sys.stdlib_module_names, *OURS):
        (folder / f"{name}.py").write_text(PLANTED.format(mark=str(mark)))


def commands() -> Mapping[str, list[str]]:
    """The ways in which the command is started: by a session of nox, and by a person."""
    return {"session": python("mlx_publish"), "by hand": [sys.executable, "-m", "mlx_publish"]}


def run(words: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT / "scripts"),
        **more,
    }
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "ran"


def test_the_plants_would_run_where_a_python_looks(tmp_path: Path, mark: Path) -> None:
    plant(tmp_path, mark)
    run([sys.executable, "-c", "import argparse"], tmp_path)
    assert mark.exists()


@pytest.mark.parametrize("how", ["session", "by hand"])
def test_nothing_of_a_checkout_runs_in_card_review(tmp_path: Path, mark: Path, how: str) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "cards").mkdir(parents=True)
    (checkout / "cards" / "README.md").write_text("forged")
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=checkout, check=True)
    plant(checkout, mark)
    if how == "by hand":  # what -m itself needs is imported before anything of ours; runpy cannot be kept from it
        for name in ("runpy", "pkgutil", "importlib", "types", "warnings", "functools", "collections", "os", "sys",
                     "mlx_publish", "typing", "keyword", "operator", "reprlib", "weakref", "contextlib",
                     "_weakrefset", "sitecustomize", "usercustomize", "inspect", "ast", "dis", "enum", "linecache", "tokenize",
                     "token", "re", "opcode"):  # fmt: skip
            (checkout / f"{name}.py").unlink(missing_ok=True)
    ended = run([*commands()[how], "review-cards", "--from-env"], checkout, MLX_PUBLISH_INPUT_BASE="HEAD")
    assert not mark.exists(), mark.read_text()
    assert ended.returncode != 3, ended.stderr


@pytest.mark.parametrize("where", ["--source .", "recipe"])
def test_nothing_of_a_model_runs_in_any_child(tmp_path: Path, mark: Path, where: str) -> None:
    source = make_model(tmp_path / "Planted", tie=False)
    plant(source, mark)
    (source / "mlx").mkdir()
    user = User(tmp_path / "home")
    words = ["run", "--work", str(tmp_path / "work")]
    if where == "recipe":
        words += [
            "--recipe",
            str(
                write_recipe(
                    tmp_path / "one.yaml",
                    source=str(source),
                    variants=[{"bits": 8, "group_size": 32}],
                    base_model="a/b",
                    to=f"folder:{tmp_path}/out",
                    **QUICK,
                )
            ),
        ]
    else:
        words += [
            "--source",
            ".",
            "--bits",
            "8",
            "--group-size",
            "32",
            "--to",
            f"folder:{tmp_path}/out",
            "--until",
            "smoke",
            "--base-model",
            "a/b",
        ]
    ended = run([*commands()["session"], *words], source, **user.environment)
    assert not mark.exists(), mark.read_text()
    assert ended.returncode in (0, 1), ended.stderr
    assert "smoke" in ended.stdout + ended.stderr
