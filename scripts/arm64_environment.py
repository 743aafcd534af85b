"""A Python environment of arm64 Linux on x86-64, run by QEMU: what `nox -s portable` compares bytes with.

It is a virtual environment like any other, whose `bin/python` is a script that starts QEMU. So whatever starts a child
by `sys.executable`, as the kit does, gets another Python of arm64: no support in the kernel (binfmt_misc) is needed,
and no variable. Debian brings Python and QEMU, the lock says which wheels and what their SHA-256 is.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from nox import project

import debian_arm64
import indexes
import lock
from made_once import make_once
from mlx_publish.children import private_folder

ROOT = Path(__file__).resolve().parents[1]
WHEELS = "aarch64-manylinux_2_36"
"""The newest wheels that Debian 12 can load; MLX has some for glibc 2.35."""
# Python writes bytecode of what it imports here, which takes as long as everything else.
_IMPORTED = (
    "import platform, mlx.core as mx, mlx_lm, mlx_lm.models.llama, mlx_lm.utils, huggingface_hub, pydantic, rich, yaml;"
    "assert platform.machine() == 'aarch64'; mx.eval(mx.quantize(mx.ones((64, 64)), stream=mx.cpu))"
)
_LAUNCHER = """\
#!/bin/sh
exec {qemu} -L {system} -0 {own} {python} "$@"
"""


def reason_against() -> str:
    """Return why this machine cannot have such an environment; empty if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "emulating arm64 needs Linux on x86-64"
    if missing := [name for name in debian_arm64.NEEDED if shutil.which(name) is None]:
        return f"{' and '.join(missing)} not found: arm64 Python and QEMU come from Debian's packages"
    return "" if _uv() else "uv not found: only uv chooses wheels for another machine by the lock; install nox[uv]"


def locked() -> str:
    """Return the part of the lock that a conversion needs, as a file of requirements."""
    settings = project.load_toml(ROOT / "pyproject.toml")["project"]
    wanted = [*settings["dependencies"], *settings["optional-dependencies"]["mlx"]]
    entries = lock.part(wanted, lock.entries(lock.LOCK.read_text(encoding="utf-8")))
    return "".join(f"{entry.line()}\n" for entry in entries)


def folder() -> Path:
    """Return its path, or would; another one for each kind of machine, release of its system and lock file."""
    made_from = [platform.machine(), _release(), WHEELS, *debian_arm64.WANTED, _LAUNCHER, locked()]
    key = hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:12]
    return Path(private_folder.first(private_folder.places(ROOT, of_the_checkout_first=True)), f"arm64-{key}")


def python() -> Path | None:
    """Return its Python, where it is whole and nobody else can have changed it."""
    try:
        there = folder()
    except private_folder.Unfit:
        return None
    return there / "bin" / "python" if private_folder.is_ready(there, deep=False) else None


def make(tell: Callable[[str], None], variables: dict[str, str] | None = None) -> str:
    """Make it, unless it is there. Returns why that was not possible; empty if it is whole.

    `variables` come on top of uv's environment.
    """
    return make_once(folder, python, lambda there: reason_against() or _make(there, tell, variables or {}))


def _make(there: Path, tell: Callable[[str], None], variables: dict[str, str]) -> str:
    tell(f"creating the environment {there.name} (once)")
    private_folder.make_empty(there)
    tell("unpacking Debian's packages for arm64, and QEMU")
    try:
        with tempfile.TemporaryDirectory(dir=there) as aside:
            debian_arm64.bring(there, Path(aside))
        version = debian_arm64.version(there / debian_arm64.SYSTEM)
    except debian_arm64.Unavailable as error:
        return f"apt cannot bring Debian's packages for arm64: {error}"
    own = put_launcher(there, version)
    if reason := _install(there, version, tell, variables):
        return f"uv cannot install the packages for arm64: {reason}"
    if reason := _run(there, {}, str(own), "-I", "-c", _IMPORTED):
        return f"Python for arm64 does not run under QEMU here: {reason}"
    return ""


def put_launcher(there: Path, version: str) -> Path:
    """Write the script that stands for Python, and the file by which Python finds its environment; return the script.

    Told by -0 that it is the script, Python takes that for `sys.executable`, and so does whoever starts a child.
    """
    system, own = there / debian_arm64.SYSTEM, there / "bin" / "python"
    real = system / "usr" / "bin" / f"python{version}"
    (there / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    (there / "pyvenv.cfg").write_text(f"home = {real.parent}\ninclude-system-site-packages = false\n", encoding="utf-8")
    paths = {"qemu": there / debian_arm64.QEMU, "system": system, "own": own, "python": real}
    own.parent.mkdir()
    own.write_text(_LAUNCHER.format(**{key: shlex.quote(str(path)) for key, path in paths.items()}), encoding="utf-8")
    own.chmod(0o755)
    return own


def _install(there: Path, version: str, tell: Callable[[str], None], variables: dict[str, str]) -> str:
    wanted = there / "requirements.txt"
    wanted.write_text(locked(), encoding="utf-8")
    asked = indexes.for_uv(sys.executable)
    tell(f"installing packages for arm64 from {asked.said}, with the lock's hashes")
    packages = there / "lib" / f"python{version}" / "site-packages"
    where = ("--python", sys.executable, "--target", str(packages))
    machine = ("--python-platform", WHEELS, "--python-version", version)
    command = (_uv(), "pip", "install", "--quiet", *where, *machine, *lock.OPTIONS, *asked.options)
    reason = _run(there, {**asked.variables, **variables}, *command, "--requirement", str(wanted))
    (packages / ".lock").unlink(missing_ok=True)  # uv's own, which all may write
    return reason


def _uv() -> str:
    """Return uv: the one that came with nox, before any other that PATH may have."""
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv") or ""


def _release() -> str:
    """Return the release of this system, by which apt chooses its packages."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ""
    return f"{release.get('ID')} {release.get('VERSION_ID')}"


def _run(there: Path, variables: dict[str, str], *command: str) -> str:
    """Run a command; returns the last line of what it printed where it failed."""
    env = {**os.environ, "UV_SYSTEM_CERTS": "1", "TMPDIR": str(there), **variables}
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    errors = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return errors[-1].strip() if errors else f"exit {done.returncode}"
