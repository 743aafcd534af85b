"""The environment of arm64 on x86-64: what apt and uv are asked, what stays of the packages, and how it starts."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import arm64_environment
import debian_arm64

ROOT = Path(__file__).parents[1]
LINUX = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="arm64 is emulated on Linux on x86-64"
)
# As apt 2.6.1 prints it, in the language C.
UNREACHED = """\
Err:1 http://deb.example.org/debian bookworm InRelease
  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)
Reading package lists...
W: Failed to fetch http://me:secret@deb.example.org/debian/dists/bookworm/InRelease  Could not connect to 127.0.0.1:9
W: Some index files failed to download. They have been ignored, or old ones used instead.
"""
UNSIGNED = """\
Get:1 http://deb.example.org/debian bookworm InRelease [151 kB]
Reading package lists...
W: GPG error: http://deb.example.org/debian bookworm InRelease: The following signatures couldn't be verified
E: The repository 'http://deb.example.org/debian bookworm InRelease' is not signed.
"""
ABSENT = """\
Reading package lists...
Building dependency tree...
E: Unable to locate package python3
E: Unable to locate package qemu-user-static:amd64
"""


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (
            UNREACHED,
            "Failed to fetch http://deb.example.org/debian/dists/bookworm/InRelease Could not connect to 127.0.0.1:9",
        ),
        (UNSIGNED, "The repository 'http://deb.example.org/debian bookworm InRelease' is not signed."),
        (ABSENT, "Unable to locate package python3"),
        ("Reading package lists...\n", ""),
    ],
)
def test_the_first_error_of_apt_is_the_reason_without_a_password(printed: str, said: str) -> None:
    assert debian_arm64.complaint(printed) == said


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apt: str, dpkg: str = "exit 0") -> Path:
    """Put programs in the place of apt-get and dpkg-deb; returns their folder."""
    folder = tmp_path / "programs"
    program(folder, "apt-get", apt)
    program(folder, "dpkg-deb", dpkg)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def failing(printed: Sequence[str]) -> str:
    """Return a script for apt-get whose update says the first text, and whose download fails with the second."""
    update, download = printed
    return f"case \"$*\" in *update*) cat <<'END'\n{update}END\n;; *) cat <<'END'\n{download}END\nexit 100;; esac"


def test_without_packages_the_reason_names_both_what_is_missing_and_what_was_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(tmp_path, monkeypatch, failing((UNREACHED, ABSENT)))
    with pytest.raises(debian_arm64.Unavailable) as caught:
        debian_arm64.bring(tmp_path / "there", tmp_path / "aside")
    missing, unreached = str(caught.value).split("; ")
    assert missing == "Unable to locate package python3"
    assert unreached.startswith("Failed to fetch http://deb.example.org/")


def test_apt_writes_only_aside_and_runs_no_hook_of_the_machine(tmp_path: Path) -> None:
    if not (apt := shutil.which("apt-config")):
        pytest.skip("no apt here")
    file = tmp_path / "apt.conf"
    file.write_text(debian_arm64.settings(tmp_path / "a %41 folder"))
    shown = subprocess.run([apt, "--config-file", file, "dump"], capture_output=True, text=True, check=True).stdout
    values = dict(line.rstrip(";").split(" ", 1) for line in shown.splitlines() if line.endswith(";"))
    written = {values[key].strip('"') for key in ("Dir::State", "Dir::State::status", "Dir::Cache", "Dir::Log")}
    assert {Path(path).parent.name for path in written} == {"a %41 folder"}
    assert values["APT::Architecture"] == '"arm64"'
    assert [value for key, value in values.items() if key == "APT::Architectures::"] == ['"amd64"']  # the last one
    assert [value for key, value in values.items() if "APT::Update::P" in key and value != '""'] == []


def test_of_the_packages_python_and_the_libraries_stay(tmp_path: Path) -> None:
    for name in ("bin/tar", "etc/passwd", "usr/sbin/x", "usr/share/doc/y", "usr/bin/dpkg", "usr/bin/python3.11"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu/libc.so.6", "usr/lib/aarch64-linux-gnu/libz.so.1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    for _ in range(2):  # newer packages have all libraries below usr already
        debian_arm64.prune(tmp_path)
        kept = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}
        assert kept == {
            "usr/bin/python3", "usr/bin/python3.11", "usr/lib/ld-linux-aarch64.so.1",
            "usr/lib/aarch64-linux-gnu/libc.so.6", "usr/lib/aarch64-linux-gnu/libz.so.1",
        }  # fmt: skip
        assert (tmp_path / "lib").readlink() == Path("usr/lib")
    assert debian_arm64.version(tmp_path) == "3.11"


@pytest.mark.parametrize("name", ["qemu-aarch64-static", "qemu-aarch64"])
def test_qemu_is_taken_by_its_old_and_its_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    apt = 'for last; do :; done; case "$*" in *install*) : >"$(dirname "$2")/cache/archives/qemu_1_amd64.deb";; esac'
    dpkg = f'mkdir -p "$3/usr/bin"; echo emulator >"$3/usr/bin/{name}"'
    tools(tmp_path, monkeypatch, apt, dpkg)
    there = tmp_path / "there"
    for folder in ("root/usr/bin", "root/usr/lib"):
        (there / folder).mkdir(parents=True)
    debian_arm64.bring(there, tmp_path / "aside")
    assert (there / debian_arm64.QEMU).read_text() == "emulator\n"


def test_python_is_a_script_that_starts_qemu_and_passes_itself_as_the_program(tmp_path: Path) -> None:
    there = tmp_path / "it's a folder"
    there.mkdir()
    program(there, debian_arm64.QEMU, """printf '%s\\n' "$@" """)
    own = arm64_environment.put_launcher(there, "3.11")
    done = subprocess.run([own, "-I", "-c", "print(1)", ""], capture_output=True, text=True, check=True, env={})
    python = f"{there}/root/usr/bin/python3.11"
    assert done.stdout.split("\n") == ["-L", f"{there}/root", "-0", str(own), python, "-I", "-c", "print(1)", "", ""]
    assert f"home = {there}/root/usr/bin\n" in (there / "pyvenv.cfg").read_text()
    assert (there / "lib/python3.11/site-packages").is_dir()


def test_the_lock_gives_a_hash_of_every_package_and_no_pytorch_for_linux() -> None:
    lines = arm64_environment.locked().splitlines()
    assert {"mlx", "mlx-cpu", "mlx-lm", "transformers", "pydantic", "rich"} <= {line.split("==")[0] for line in lines}
    assert [line for line in lines if " --hash=sha256:" not in line] == []
    [torch] = [line for line in lines if line.startswith("torch==")]
    assert "sys_platform == 'darwin'" in torch


def test_each_missing_tool_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert arm64_environment.reason_against() == "emulating arm64 needs Linux on x86-64"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert arm64_environment.reason_against().startswith("apt-get and dpkg-deb not found: ")
    tools(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setattr(arm64_environment, "_uv", lambda: "")
    assert arm64_environment.reason_against().startswith("uv not found: ")
    monkeypatch.setattr(arm64_environment, "_uv", lambda: "/usr/bin/uv")
    assert arm64_environment.reason_against() == ""


@LINUX
def test_the_session_is_skipped_with_the_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tools(tmp_path, monkeypatch, failing((UNREACHED, ABSENT)))
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-I", "-m", "nox", "-f", str(ROOT / "noxfile.py"), "-s", "portable"],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path), "MLX_PUBLISH_CACHE": str(cache)},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "creating the environment arm64-" in done.stderr
    assert "nothing was compared with arm64: apt cannot bring Debian's packages for arm64: Unable" in done.stderr
    assert not [path for path in cache.iterdir() if path.is_dir()]
