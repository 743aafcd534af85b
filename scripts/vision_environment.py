"""The environment with mlx-vlm, in which `smoke` proves a drafter made of multi-token heads.

mlx-vlm asks for what sees and hears: 1.1 GB with it. Text needs a small part, in the lock's versions of the stages, so
mlx-vlm itself is installed without its dependencies: 0.4 GB. The noxfile and the tests share what is made here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import indexes
import lock
from made_once import make_once, python_of, run
from mlx_publish.children import private_folder

ROOT = Path(__file__).resolve().parents[1]
ALONE = Path(__file__).with_name("vision.txt")
"""mlx-vlm and Pillow with their hashes; `nox -s lock` writes it."""
VARIABLE = "MLX_PUBLISH_VISION_PYTHON"
# What mlx-vlm imports, and the engine beside it.
NEEDED = ("mlx", "mlx[cpu]", "mlx-lm", "transformers", "numpy", "requests", "tqdm", "sentencepiece", "jinja2")
_IMPORTED = "import mlx_vlm.utils, mlx_vlm.generate.ar, mlx_vlm.speculative.drafters, tokenizers"
_OTHERWISE = f"Run it again with network access, or set {VARIABLE} to a Python that has mlx-vlm."


def requirements() -> str:
    """Return all of it as lines of a requirements file, with hashes."""
    locked = lock.part(NEEDED, lock.entries(lock.LOCK.read_text(encoding="utf-8")))
    return "".join(f"{entry.line()}\n" for entry in locked) + ALONE.read_text(encoding="utf-8")


def folder() -> Path:
    """Return its path, or would; another one for each Python and lock file."""
    key = hashlib.sha256(f"{sys.executable}\n{requirements()}".encode()).hexdigest()[:12]
    name = f"vision-{sys.version_info.major}.{sys.version_info.minor}-{key}"
    return Path(private_folder.first(private_folder.places(ROOT, of_the_checkout_first=True)), name)


def python() -> Path | None:
    """Return its Python, where it is whole and nobody else can have changed it."""
    return python_of(folder)


def make() -> str:
    """Make it, unless it is there. Returns why that was not possible; empty if it is whole."""
    return make_once(folder, python, _make)


def _make(there: Path) -> str:
    private_folder.make_empty(there)
    if said := run(there, sys.executable, "-I", "-m", "venv", "--without-pip", str(there)):
        return f"python -m venv failed: {said}"
    own, wanted = str(there / "bin" / "python"), there / "requirements.txt"
    wanted.write_text(requirements(), encoding="utf-8")
    options = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", str(wanted))
    if said := run(there, *_installer(own), *options):
        return f"mlx-vlm cannot be installed: {said}. {_OTHERWISE}"
    (there / ".lock").unlink(missing_ok=True)
    # A child that finds no bytecode compiles what it imports each time, for seconds, since it may not write.
    run(there, own, "-I", "-m", "compileall", "-q", "-j", "0", str(there / "lib"))
    if said := run(there, own, "-I", "-c", _IMPORTED):
        return f"mlx-vlm cannot be imported here: {said}. {_OTHERWISE}"
    return ""


def _installer(own: str) -> tuple[str, ...]:
    """Return the command that installs into a Python: uv, which links what it has already, else this Python's pip."""
    if uv := shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv"):
        os.environ.setdefault("UV_SYSTEM_CERTS", "1")
        asked = indexes.for_uv(sys.executable)
        os.environ.update(asked.variables)
        return (uv, "pip", "install", "--quiet", "--python", own, *asked.options)
    pip = (sys.executable, "-I", "-m", "pip", "--python", own)
    return (*pip, "install", "--quiet", "--disable-pip-version-check", "--no-compile")
