"""No child of a whole publication sees a secret: not in its environment, its parent's, nor in files that it is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_publish.children.process import python
from models import make_model
from pipeline import QUICK, ROOT, User, write_recipe

NAMES = (
    "HF_TOKEN", "HF_READ_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MLX_PUBLISH_TOKEN", "GITHUB_TOKEN", "GH_TOKEN",
    "GH_ENTERPRISE_TOKEN", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET", "GOOGLE_API_KEY",
    "OPENAI_API_KEY", "NPM_TOKEN", "PYPI_PASSWORD", "DOCKER_AUTH_CONFIG", "DATABASE_URL", "SSH_AUTH_SOCK", "SLACK_WEBHOOK",
    "COOKIE", "PIP_INDEX_URL", "UV_INDEX_URL", "HTTPS_PROXY", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE",
    "MLX_PUBLISH_INPUT_NOTES", "PYTHONSTARTUP",
)  # fmt: skip
FILES = (".netrc", ".cache/huggingface/token", ".ssh/id_ed25519", ".aws/credentials", ".config/gh/hosts.yml")
MARK = "s3cret-"
LOOK = """#!/bin/sh
{{ echo "== $*"; env; cat /proc/$PPID/environ | tr '\\0' '\\n'; ls -lR "$HOME" "$TMPDIR" .
  find "$HOME/" "$TMPDIR/" . -type f -exec cat {{}} +; }} >> "{seen}/$$" 2>&1
exec "{python}" "$@"
"""
START = """
import sys
sys.executable = {look!r}
from mlx_publish.cli import main
sys.exit(main())
"""


def looking(tmp_path: Path, name: str, real: Path | str) -> Path:
    """A Python that writes down all that it is shown before it begins."""
    path = tmp_path / name
    path.write_text(LOOK.format(seen=tmp_path / "seen", python=real))
    path.chmod(0o755)
    return path


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="without /proc a parent's environment is not a file"
)
def test_no_secret_is_seen_in_any_child_of_a_publication(tmp_path: Path, torch_python: Path) -> None:
    (tmp_path / "seen").mkdir()
    user = User(tmp_path / "home")
    for name in FILES:
        path = user.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{MARK}{name}")
    secrets = {name: f"{MARK}{name}" for name in NAMES} | {
        "HTTPS_PROXY": f"http://me:{MARK}proxy@127.0.0.1:9",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:9/{MARK}",
        "GITHUB_OUTPUT": str(tmp_path / f"{MARK}output"),
    }
    recipe = write_recipe(
        tmp_path / "one.yaml",
        source=str(make_model(tmp_path / "Tiny", tie=False)),
        base_model="lab/Tiny",
        variants=[{"bits": 8, "group_size": 32}],
        to=f"folder:{tmp_path}/out/Tiny-8bit",
        accept=[
            {"check": one, "reason": "its weights are random"} for one in ("answers", "same-first-choice", "leaks")
        ],
        **{**QUICK, "fidelity": {"tokens": 32, "reference": "transformers"}},
    )
    (tmp_path / "start.py").write_text(START.format(look=str(looking(tmp_path, "look", sys.executable))))
    words = [*python("start", root=tmp_path), "publish", "--recipe", str(recipe), "--work", str(tmp_path / "work")]
    environment = {
        **user.environment,
        **secrets,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "scripts"),
        "MLX_PUBLISH_REFERENCE_PYTHON": str(looking(tmp_path, "look-torch", torch_python)),
    }
    text = (tmp_path / "start.py").read_text()
    (tmp_path / "start.py").write_text(f"import sys\nsys.path.insert(1, {str(ROOT / 'scripts')!r})\n{text}")
    ended = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    seen = {path.name: path.read_text(errors="replace") for path in (tmp_path / "seen").iterdir()}
    told = "\n".join(one.splitlines()[0] for one in seen.values())
    for child in (
        "mlx_publish.engine",
        "mlx_publish.chat",
        "mlx_publish.torch_check",
        "mlx_publish.engine.tame",
        "mlx_publish.engine answers",
    ):
        assert child in told
    leaks = {name: [line for line in one.splitlines() if MARK in line] for name, one in seen.items()}
    assert not any(leaks.values()), leaks
    # And the parent had them all.
    assert all("PATH=" in one for one in seen.values())


def test_what_runs_still_has_what_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(
        f"import sys; sys.path.insert(1, {str(ROOT / 'scripts')!r})\n"
        "import os, subprocess, ctypes\n"
        "from mlx_publish.children.secrets import hide\n"
        "hide()\n"
        "print(os.environ['HF_TOKEN'], 'a-token' in open('/proc/self/environ').read() if sys.platform == 'linux' else False)\n"
        "library = ctypes.CDLL(None)\n"
        "library.getenv.restype = ctypes.c_char_p\n"
        "print(library.getenv(b'HF_TOKEN'))\n"
    )
    ended = subprocess.run(
        python("told", root=tmp_path),
        env={"HF_TOKEN": "a-token", "PATH": "/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == ["a-token", "False", "b'a-token'"]
