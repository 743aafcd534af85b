"""One place starts processes, and what it starts sees little."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlx_publish
from mlx_publish.children import process
from mlx_publish.children.environment import of_a_child, of_github
from mlx_publish.children.process import ask, program, python, resident

PACKAGE = Path(mlx_publish.__file__).parent
STARTING = {"subprocess", "multiprocessing", "pty"}
CALLS = ("system", "popen", "exec", "spawn", "posix_spawn")  # a fork is a copy of what runs already


def starts(path: Path) -> bool:
    """Whether a module could start a program."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if STARTING & {name.split(".")[0] for name in names}:
            return True
        called = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
        if called and node.attr.startswith(CALLS):  # type: ignore[attr-defined]
            return True
    return False


def test_one_module_of_the_package_starts_programs() -> None:
    assert [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if starts(path)] == [
        "children/process.py"
    ]


def test_every_python_is_isolated() -> None:
    assert python("mlx_publish.engine", "word")[:4] == [sys.executable, "-I", "-X", "utf8"]


def test_a_child_sees_variables_of_an_allow_list_and_folders_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYTHING", "else")
    seen = of_a_child(tmp_path, ONE="more")
    assert set(seen) <= {
        *__import__("mlx_publish.children.environment", fromlist=["KEPT"]).KEPT,
        "HOME",
        "TMPDIR",
        "ONE",
    }
    for name in ("HOME", "TMPDIR"):
        folder = Path(seen[name])
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list(folder.iterdir()) == []


def test_git_and_gh_see_githubs_token_and_no_other() -> None:
    given = {
        "GH_TOKEN": "1",
        "GITHUB_TOKEN": "2",
        "PATH": "/bin",
        "GIT_DIR": "x",
        "HF_TOKEN": "3",
        "AWS_SECRET": "4",
        "GITHUB_ENV": "5",
        "GITHUB_PATH": "6",
        "GITHUB_OUTPUT": "7",
        "ACTIONS_RUNTIME_TOKEN": "8",
        "MODEL_SIGNING_KEY": "9",
    }
    assert set(of_github(given)) == {"GH_TOKEN", "GITHUB_TOKEN", "PATH", "GIT_DIR"}


def test_a_program_of_the_current_folder_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", f":{os.devnull}", "./"):
        monkeypatch.setenv("PATH", path)
        assert program("git") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("git") == str(tmp_path / "git")


def test_memory_of_a_process_that_is_not_there() -> None:
    assert resident(2**22 + 1) == 0


@pytest.mark.parametrize("linux", [True, False])
def test_memory_of_a_process(monkeypatch: pytest.MonkeyPatch, linux: bool) -> None:
    if linux and sys.platform != "linux":
        pytest.skip("it is read from /proc")
    if not linux and not Path("/bin/ps").exists():
        pytest.skip("no ps here")
    monkeypatch.setattr(process, "LINUX", linux)
    child = subprocess.Popen(
        [sys.executable, "-c", "x = bytes(range(256)) * 200_000; print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout
        child.stdout.readline()
        assert 50 * 10**6 < resident(child.pid) < 200 * 10**6
    finally:
        child.kill()
        child.communicate()


def test_the_first_to_go_where_the_memory_is_full_is_the_child(tmp_path: Path) -> None:
    if not Path("/proc/self/oom_score_adj").exists():
        pytest.skip("only Linux ends processes so")
    (tmp_path / "told.py").write_text("print(open('/proc/self/oom_score_adj').read())")
    said = ask(python("told", root=tmp_path), {}, tmp_path, seconds=30)
    assert (said.code, said.out.strip()) == (0, "1000")
