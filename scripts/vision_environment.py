"""The environment with mlx-vlm, which converts and runs models that see, and proves a drafter of multi-token heads.

mlx-vlm asks for much that the kit does not use, as OpenCV, data sets and a server: 1.1 GB with it. So it is installed
without its dependencies, beside those packages that it imports, in the lock's versions of the stages: 0.4 GB. The
noxfile, the stages that it starts (`python -m vision_environment`) and the tests share what is made here.
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
NEEDED = ("mlx", "mlx-lm", "transformers", "numpy", "requests", "tqdm", "sentencepiece", "jinja2", "pydantic")
_IMPORTED = "import mlx_vlm.utils, mlx_vlm.generate.ar, mlx_vlm.speculative.drafters, tokenizers"


def requirements() -> str:
    """Return all of it as lines of a requirements file, with hashes."""
    build = "mlx[cuda13]" if os.environ.get("MLX_PUBLISH_BACKEND") == "cuda" else "mlx[cpu]"
    locked = lock.part((*NEEDED, build), lock.entries(lock.LOCK.read_text(encoding="utf-8")))
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
        return said
    (there / ".lock").unlink(missing_ok=True)
    # A child that finds no bytecode compiles what it imports each time, for seconds, since it may not write.
    run(there, own, "-I", "-m", "compileall", "-q", "-j", "0", str(there / "lib"))
    if said := run(there, own, "-I", "-c", _IMPORTED):
        return f"mlx-vlm cannot be imported here: {said}"
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


def main() -> int:
    """Make it and print its Python, or say on the last line of stderr why that is not possible."""
    reason, there = make(), python()
    if there is None:
        sys.stderr.write(f"{reason or 'it is not there'}\n")
        return 4
    sys.stdout.write(f"{there}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
