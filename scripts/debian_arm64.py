"""An arm64 Python, its libraries and QEMU from Debian's packages, unpacked into a folder: nothing is installed.

apt gets lists, downloads and a package status of its own, so that this needs no root and changes nothing of the
machine's. Sources, keys and proxies are the machine's own: apt checks signatures as always.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

WANTED = ("python3", "libstdc++6", "qemu-user-static:amd64")
NEEDED = ("apt-get", "dpkg-deb")
QEMU = "qemu-aarch64-static"
SYSTEM = "root"
"""The folder of the arm64 system; QEMU looks there before it looks at the machine's own files."""
_KEPT = ("lib", "usr")
_KEPT_IN_USR = ("bin", "lib")
_PATIENCE = ("-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30")
_DOWNLOAD = ("install", "--download-only", "--yes", "--no-install-recommends")


class Unavailable(Exception):
    """Packages that cannot be had; says why."""


def bring(there: Path, aside: Path) -> None:
    """Unpack an arm64 Python into `there`/root, with QEMU next to it. Raises `Unavailable`.

    `aside` is an empty folder for what is not needed afterwards.
    """
    system, host = there / SYSTEM, aside / "host"
    for package in _download(aside):
        _run("dpkg-deb", "-x", str(package), str(host if package.name.endswith("_amd64.deb") else system))
    _take_qemu(host, there / QEMU)
    prune(system)


def settings(aside: Path) -> str:
    """Return apt's settings: everything that it writes lies in `aside`, and no hook of the machine runs."""
    hooks = ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
    cleared = ("APT::Architectures", *(f"APT::Update::{hook}" for hook in hooks))
    lines = [f"#clear {name};" for name in cleared]
    lines += ['APT::Architecture "arm64";', 'APT::Architectures { "arm64"; "amd64"; };']
    lines += ['APT::Sandbox::User "root";', 'Acquire::Languages "none";']
    lines += [f'Dir::State "{aside}/state";', f'Dir::State::status "{aside}/status";']
    lines += [f'Dir::Cache "{aside}/cache";', f'Dir::Log "{aside}/log";']
    return "\n".join(lines) + "\n"


def complaint(text: str) -> str:
    """Return the first error in what apt printed, else the first warning, without passwords; empty if it has none."""
    for mark in ("E: ", "W: "):
        for line in text.splitlines():
            if line.startswith(mark):
                return re.sub(r"://[^/\s]*@", "://", " ".join(line[len(mark) :].split()))
    return ""


def prune(system: Path) -> None:
    """Keep the libraries and Python alone, with all libraries below usr/lib, where /lib leads to.

    A program of arm64 under /bin would stand in for the machine's own, and only QEMU can run it.
    """
    for path in system.iterdir():
        if path.name not in _KEPT:
            shutil.rmtree(path)
    for path in (system / "usr").iterdir():
        if path.name not in _KEPT_IN_USR:
            shutil.rmtree(path)
    for path in (system / "usr" / "bin").iterdir():
        if not path.name.startswith("python3"):
            path.unlink()
    libraries = system / "lib"
    if libraries.is_dir() and not libraries.is_symlink():
        shutil.copytree(libraries, system / "usr" / "lib", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(libraries)
    libraries.unlink(missing_ok=True)
    libraries.symlink_to("usr/lib")


def version(system: Path) -> str:
    """Return the version of the system's Python, such as 3.11."""
    return (system / "usr" / "bin" / "python3").readlink().name.removeprefix("python")


def _download(aside: Path) -> list[Path]:
    """Return the packages that apt brought."""
    for folder in ("state/lists/partial", "cache/archives/partial", "log"):
        (aside / folder).mkdir(parents=True)
    (aside / "status").touch()
    file = aside / "apt.conf"
    file.write_text(settings(aside), encoding="utf-8")
    apt = ("apt-get", "--config-file", str(file), "--quiet", *_PATIENCE)
    # One source of many may fail that has none of these packages.
    _, updated = _ask(*apt, "update")
    code, installed = _ask(*apt, *_DOWNLOAD, *WANTED)
    if code:
        reasons = dict.fromkeys(filter(None, (complaint(installed), complaint(updated))))
        raise Unavailable("; ".join(reasons) or f"apt-get exited with {code}")
    return sorted((aside / "cache" / "archives").glob("*.deb"))


def _take_qemu(host: Path, to: Path) -> None:
    """Take the one program out of the packages of QEMU; newer ones name it without `-static`."""
    for name in (QEMU, QEMU.removesuffix("-static")):
        if (found := host / "usr" / "bin" / name).is_file():
            shutil.copy2(found, to)
            return
    raise Unavailable(f"Debian's packages of QEMU here have no {QEMU}")


def _run(*command: str) -> None:
    code, printed = _ask(*command)
    if code:
        raise Unavailable(f"{command[0]} failed: {printed.strip().splitlines()[-1:] or code}")


def _ask(*command: str) -> tuple[int, str]:
    """Run a program; return its exit code and all that it printed."""
    done = subprocess.run(
        command,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout
