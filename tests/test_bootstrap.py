"""scripts/bootstrap.sh, run by a real sh; interpreters are shell scripts or this Python in disguise."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bootstrapping import LOCK, ROOT, Machine

SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    "place",
    [
        "opt/homebrew/bin/python3.12",
        "opt/homebrew/opt/python@3.12/bin/python3.12",
        "usr/local/bin/python3",
        "usr/local/opt/python@3.12/bin/python3.12",
        "Library/Frameworks/Python.framework/Versions/3.12/bin/python3.12",
        "opt/local/bin/python3.12",
    ],
)
def test_fixed_places_are_searched(machine: Machine, place: str) -> None:
    python = machine.fake(machine.places / place, "3.12.4")
    done = machine.run("--which")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{python} 3.12.4\n", "")
    assert not machine.environments()


@pytest.mark.parametrize(
    ("place", "variable"),
    [
        (".local/share/uv/python/cpython-3.13.1-macos-aarch64-none/bin/python3.13", ""),
        ("data/uv/python/cpython-3.13.1-macos-aarch64-none/bin/python3.13", "XDG_DATA_HOME=data"),
        ("uv pythons/cpython-3.13.1-macos-aarch64-none/bin/python3.13", "UV_PYTHON_INSTALL_DIR=uv pythons"),
        (".pyenv/versions/3.13.1/bin/python3.13", ""),
        ("own pyenv/versions/3.13.1/bin/python3.13", "PYENV_ROOT=own pyenv"),
        (".local/bin/python3.13", ""),
    ],
)
def test_places_of_the_user_are_searched(machine: Machine, place: str, variable: str) -> None:
    python = machine.fake(machine.home / place, "3.13.1")
    name, _, folder = variable.partition("=")
    done = machine.run("--which", **({name: str(machine.home / folder)} if name else {}))
    assert done.stdout == f"{python} 3.13.1\n"


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        (["3.10.1", "3.14.0", "3.11.9"], "3.11.9"),
        (["3.14.0", "3.10.1"], "3.10.1"),
        (["3.11.9", "3.12.4", "3.13.1"], "3.13.1"),
        (["3.9.18", "3.16.0"], "3.16.0"),
    ],
)
def test_the_best_supported_version_wins(machine: Machine, versions: list[str], chosen: str) -> None:
    for version in versions:
        minor = version.rpartition(".")[0]
        machine.fake(machine.places / f"opt/homebrew/opt/python@{minor}/bin/python{minor}", version)
        machine.fake(machine.places / f"opt/homebrew/opt/python@{minor}/bin/python3", version)
    assert machine.run("--which").stdout.endswith(f" {chosen}\n")


def test_path_wins_over_homebrew_when_both_are_good(machine: Machine) -> None:
    machine.fake(machine.places / "opt/homebrew/bin/python3.13", "3.13.1")
    python = machine.fake(machine.bin / "python3.11", "3.11.2")
    assert machine.run("--which").stdout == f"{python} 3.11.2\n"


def test_homebrew_wins_over_an_older_one_on_path(machine: Machine) -> None:
    machine.fake(machine.bin / "python3", "3.10.4")
    python = machine.fake(machine.places / "opt/homebrew/bin/python3.13", "3.13.1")
    assert machine.run("--which").stdout == f"{python} 3.13.1\n"


def test_a_broken_one_does_not_hide_the_next_on_path(machine: Machine) -> None:
    shim = machine.program(machine.base / "shims" / "python3.12", "#!/bin/sh\nexit 127\n")
    python = machine.fake(machine.base / "more" / "python3.12", "3.12.4")
    done = machine.run("--which", PATH=f"{shim.parent}:relative::{machine.bin}:{python.parent}")
    assert (done.returncode, done.stdout) == (0, f"{python} 3.12.4\n")


def test_a_relative_entry_of_path_is_not_used(machine: Machine) -> None:
    machine.fake(machine.base / "here" / "python3.12", "3.12.4")
    assert machine.run("--which", PATH=f"here:{machine.bin}").returncode == 4


def test_nothing_fitting_says_what_was_found_and_what_mends_it(machine: Machine) -> None:
    old = machine.fake(machine.places / "opt/homebrew/bin/python3", "3.9.18")
    bare = machine.fake(machine.bin / "python3", "3.11.2", problem="has no module ensurepip")
    broken = machine.program(machine.bin / "python", "#!/bin/sh\nexit 3\n")
    done = machine.run("-s", "demo")
    assert (done.returncode, done.stdout) == (4, "")
    assert f"{old} (3.9.18) is older than 3.10" in done.stderr
    assert f"{bare} (3.11.2) has no module ensurepip" in done.stderr
    assert f"{broken} (?) does not run (exit 3)" in done.stderr
    assert "brew install python@3.13" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr
    assert all(line.startswith("bootstrap: ") for line in done.stderr.splitlines())


def test_nothing_at_all_without_a_home(machine: Machine) -> None:
    done = machine.run("--which", HOME="")
    assert done.returncode == 4
    assert "Found: nothing" in done.stderr


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ("sys.modules['ensurepip'] = None", "has no module ensurepip"),
        ("sys.modules['venv'] = None", "has no module venv"),
        ("sys.version_info = (3, 9, 18)", "(3.9.18) is older than 3.10"),
        ("sys.version_info = (2, 7, 18)", "(2.7.18) is older than 3.10"),
        ("sys.abiflags = 't'", "is free-threaded"),
        ("sys.pypy_version_info = (7, 3)", "is PyPy"),
        (
            "os.uname = lambda: ('Darwin', '', '', 'RELEASE_ARM64_T6000', 'x86_64')",
            "is an Intel program",
        ),
        ("print('::error::hello')", "does not respond like a Python"),
    ],
)
def test_the_probe_sees_what_is_wrong(machine: Machine, statements: str, reason: str) -> None:
    machine.disguised(machine.bin / "python3", statements)
    done = machine.run("--which")
    assert (done.returncode, done.stdout) == (4, "")
    assert reason in done.stderr


def test_the_probe_takes_the_base_of_an_environment(machine: Machine) -> None:
    done = machine.run("--which", MLX_PUBLISH_PYTHON=sys.executable)
    base: str = getattr(sys, "_base_executable", sys.executable)
    assert done.stdout == f"{base} {'.'.join(map(str, sys.version_info[:3]))}\n"


def test_a_module_in_the_callers_folder_is_not_imported(machine: Machine) -> None:
    (machine.base / "venv.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    assert machine.run("--which", MLX_PUBLISH_PYTHON=sys.executable).returncode == 0


def test_apples_stub_is_not_started(machine: Machine) -> None:
    (machine.bin / "uname").unlink()
    machine.program(machine.bin / "uname", "#!/bin/sh\necho Darwin\n")
    machine.program(machine.bin / "xcode-select", "#!/bin/sh\nexit 2\n")
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no /usr/bin/python3 here")
    done = machine.run("--which", MLX_PUBLISH_PYTHON="/usr/bin/python3")
    assert done.returncode == 2
    assert "needs Xcode's command line tools" in done.stderr


@pytest.mark.parametrize("chosen", ["/nowhere/python3", "nonsense", ".", "/bin/cat"])
def test_a_chosen_python_that_is_none_is_bad_input(machine: Machine, chosen: str) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4")
    done = machine.run("-s", "demo", MLX_PUBLISH_PYTHON=chosen)
    assert done.returncode == 2
    assert done.stderr.startswith(f"bootstrap: MLX_PUBLISH_PYTHON: {chosen} ")


def test_a_chosen_python_wins(machine: Machine) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4")
    python = machine.fake(machine.base / "mine" / "py", "3.10.2")
    for chosen in (str(python), "mine/py"):
        assert machine.run("--which", MLX_PUBLISH_PYTHON=chosen).stdout == f"{python} 3.10.2\n"
    assert machine.run("--which", MLX_PUBLISH_PYTHON="python3.12").stdout.endswith("/python3.12 3.12.4\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_arguments_folder_and_exit_code_pass_through(machine: Machine, shell: str) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4", nox=7)
    done = machine.run("-s", "demo", "--", "a b", "", "--which", shell=shell)
    (environment,) = machine.environments()
    assert done.returncode == 7
    assert done.stdout.splitlines() == [
        str(machine.base),
        str(machine.home / ".cache" / "mlx-publish"),
        f"{machine.bin}:{environment}/bin",
        *["--noxfile", str(machine.project / "noxfile.py"), "-s", "demo", "--", "a b", "", "--which"],
    ]
    assert environment.name.startswith("nox-3.12-")


def test_the_second_call_is_silent_and_makes_nothing(machine: Machine) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4")
    first, second = machine.run("-l"), machine.run("-l")
    making, packages = first.stderr.splitlines()
    assert making.startswith("bootstrap: creating the nox environment with Python 3.12.4 in ")
    assert packages.startswith("bootstrap: installing packages from https://pypi.org/simple, with the")
    assert (second.returncode, second.stderr) == (0, "")
    (pip,) = machine.pip_calls()
    (environment,) = machine.environments()
    assert f"--require-hashes --only-binary :all: --requirement {environment}/requirements.txt" in pip
    assert (environment / "requirements.txt").read_text(encoding="utf-8").splitlines() == [
        "nox==1 --hash=sha256:01 --hash=sha256:02",
        "uv==2 ; python_full_version < '4' --hash=sha256:04",
    ]


def test_another_lock_and_other_pythons_have_their_own_environment(machine: Machine) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4")
    other = machine.fake(machine.base / "other" / "python3.12", "3.12.4")
    machine.run("-l")
    machine.run("-l", MLX_PUBLISH_PYTHON=str(other))
    (machine.project / "requirements.lock").write_text(LOCK.replace("nox==1", "nox==2"), encoding="utf-8")
    machine.run("-l")
    assert len(machine.environments()) == 3


@pytest.mark.parametrize("damage", ["marker", "python"])
def test_a_half_made_environment_is_made_anew(machine: Machine, damage: str) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4")
    machine.run("-l")
    (environment,) = machine.environments()
    (environment / "rest").touch()
    (environment / (".complete" if damage == "marker" else "bin/python")).unlink()
    assert machine.run("-l").returncode == 0
    assert not (environment / "rest").exists()
    assert len(machine.pip_calls()) == 2


def test_a_failure_of_pip_leaves_nothing_and_shows_its_last_lines(machine: Machine) -> None:
    pip = "for n in 1 2 3 4 5 6 7 8; do echo line $n; done; echo ::error::no network >&2; exit 1"
    machine.fake(machine.bin / "python3.12", "3.12.4", pip=pip)
    done = machine.run("-l")
    assert (done.returncode, done.stdout) == (4, "")
    assert "pip install nox failed (exit 1)" in done.stderr
    assert done.stderr.endswith("bootstrap: line 8\nbootstrap: ::error::no network\n")
    assert "line 1\n" not in done.stderr
    assert not machine.environments()


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"MLX_PUBLISH_CACHE": "{base}/own cache", "RUNNER_TOOL_CACHE": "{base}/tools"}, "own cache"),
        ({"MLX_PUBLISH_CACHE": "relative"}, "relative"),
        ({"RUNNER_TOOL_CACHE": "{base}/tools", "XDG_CACHE_HOME": "{base}/xdg"}, "tools/mlx-publish"),
        ({"XDG_CACHE_HOME": "{base}/xdg"}, "xdg/mlx-publish"),
        ({"XDG_CACHE_HOME": "{base}/xdg", "HOME": ""}, "xdg/mlx-publish"),
        ({"HOME": ""}, "the project/.nox"),
    ],
)
def test_where_the_environment_is_kept(machine: Machine, variables: dict[str, str], folder: str) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4")
    done = machine.run("-l", **{name: text.format(base=machine.base) for name, text in variables.items()})
    assert done.stdout.splitlines()[1] == str(machine.base / folder)
    assert len(list((machine.base / folder).glob("nox-*/.complete"))) == 1


def test_a_cache_that_cannot_be_made_is_named(machine: Machine) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4")
    done = machine.run("-l", MLX_PUBLISH_CACHE=str(machine.project / "requirements.lock"))
    assert done.returncode == 4
    assert "requirements.lock' is not a folder" in done.stderr
    assert "Set MLX_PUBLISH_CACHE to a folder" in done.stderr


def test_two_at_once_make_one_environment(machine: Machine) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4", pip="sleep 0.5")
    both = [subprocess.Popen(machine.command("-l"), env=machine.variables, stderr=subprocess.PIPE) for _ in "ab"]
    errors = [process.communicate(timeout=30)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(machine.pip_calls()) == 1
    assert any(b"waiting for process" in error for error in errors)
    assert len(machine.environments()) == 1  # so no lock is left either


def test_the_lock_of_a_dead_process_is_taken_over(machine: Machine) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4")
    machine.run("-l")
    (environment,) = machine.environments()
    (environment / ".complete").unlink()
    gone = subprocess.Popen([shutil.which("true") or "true"])
    gone.wait()
    environment.with_name(environment.name + ".lock").symlink_to(str(gone.pid))
    assert machine.run("-l").returncode == 0
    assert machine.environments() == [environment]
    assert len(machine.pip_calls()) == 2


@pytest.mark.parametrize("shell", SHELLS)
def test_an_interrupt_cleans_up(machine: Machine, shell: str) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4", pip="sleep 1")
    command = machine.command("-l", shell=shell)
    with subprocess.Popen(command, env=machine.variables, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 10
        while not machine.pip_calls() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert not machine.environments()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_low_limit_of_open_files_is_raised_or_named(machine: Machine, shell: str) -> None:
    machine.fake(machine.bin / "python3.12", "3.12.4")
    command = shlex.join(machine.command("-l", shell=shell))

    def stderr_of(limit: str) -> str:
        line = ["sh", "-c", f"ulimit {limit} && exec {command}"]
        done = subprocess.run(line, env=machine.variables, capture_output=True, text=True, check=True)
        return done.stderr

    stderr_of("-S -n 256")
    assert "open files" not in stderr_of("-S -n 256")
    assert "mlx-lm needs 4096 open files, but the hard limit here is 300" in stderr_of("-n 300")


def test_a_bare_path_as_launchd_gives_it(machine: Machine) -> None:
    machine.fake(machine.places / "opt/homebrew/bin/python3.13", "3.13.1")
    done = machine.run("--which", PATH="/usr/bin:/bin", HOME="")
    path, _, version = done.stdout.rpartition(" ")
    assert done.returncode == 0
    assert version.startswith("3.1")
    assert os.access(path, os.X_OK)


@pytest.mark.slow
def test_a_real_nox_from_a_bare_path(machine: Machine) -> None:
    shutil.copy(ROOT / "requirements.lock", machine.project)
    # Only how packages are reached may pass from this machine to the bare one.
    passing = [name for name in os.environ if name.startswith("PIP_") or "proxy" in name.lower()]
    bare = {name: os.environ[name] for name in passing}
    bare.update(PATH="/usr/bin:/bin", MLX_PUBLISH_SEARCH_ROOT="")
    if machine.run("--which", **bare).returncode:
        bare["MLX_PUBLISH_PYTHON"] = sys.executable
    done = machine.run("--version", **bare)
    assert done.returncode == 0, done.stderr
    (environment,) = machine.environments()
    assert (environment / "bin" / "uv").exists()
    again = machine.run("--version", **bare)
    assert (again.returncode, again.stderr) == (0, done.stderr.splitlines(keepends=True)[-1])


def test_in_a_job_what_it_lacks_is_an_annotation_and_stands_in_the_summary(machine: Machine) -> None:
    summary = machine.base / "summary.md"
    done = machine.run(
        "-s", "run", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary), PATH=f"{machine.bin}:/100%"
    )
    assert done.returncode == 4
    [annotation] = [line for line in done.stderr.splitlines() if line.startswith("::")]
    assert annotation.startswith("::error::bootstrap: no suitable Python found. Required: CPython 3.10")
    heading, _, fence, first, *_, closing = summary.read_text(encoding="utf-8").splitlines()
    assert (heading, fence, closing) == ("### mlx-publish: error", "~~~text", "~~~")
    assert first.startswith("no suitable Python found")
    machine.run("-s", "run", MLX_PUBLISH_PYTHON="100%::x", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    assert summary.read_text(encoding="utf-8").count("### mlx-publish: error") == 2
