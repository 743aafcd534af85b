"""The environment with PyTorch for the CPU and transformers, in which `inspect` proves an architecture on Linux.

On a Mac both are in the stages' own environment. For Linux, PyPI's wheel of PyTorch is one for CUDA: it is half a
gigabyte and cannot even be imported without gigabytes of CUDA's libraries. So a build for the CPU is looked for, first
where pip is set to look, then in PyTorch's own index. The noxfile and the tests share what is made here.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

import lock
from made_once import make_once, python_of, run
from mlx_publish.children import private_folder

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
# Of PyTorch's own index, for Linux on x86-64. The lock has PyPI's hashes, and there is no build for the CPU there.
HASHES = Path(__file__).with_name("torch_cpu.sha256")
VARIABLE = "MLX_PUBLISH_REFERENCE_PYTHON"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# What PyTorch needs besides CUDA; pip is not asked, since it would bring that, too.
BESIDE_TORCH = ("filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec", "setuptools", "mpmath")
COMPARED = ("transformers", "numpy", "safetensors")
_MAC = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"}
_IMPORTED = (
    "import torch, transformers, transformers.models.llama.modeling_llama; assert float(torch.ones(2, 2).sum()) == 4"
)
_OTHERWISE = f"Run it again with network access, or set {VARIABLE} to a Python that has torch and transformers."


def is_for_this_machine() -> bool:
    """Whether PyTorch needs this environment here, and whether there are builds for it."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def pins() -> list[str]:
    """Return what constraints.txt pins for a Mac and this Python: the twin is computed by the same versions here."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line.strip()]
    return [f"{one.name}{one.specifier}" for one in pinned if one.marker is None or one.marker.evaluate(dict(_MAC))]


def folder() -> Path:
    """Return its path, or would; another one for each Python and lock file."""
    locked = "\n".join([*pins(), HASHES.read_text(encoding="utf-8")])
    key = hashlib.sha256(locked.encode()).hexdigest()[:12]
    name = f"reference-{sys.version_info.major}.{sys.version_info.minor}-{key}"
    return Path(private_folder.first(private_folder.places(ROOT, of_the_checkout_first=True)), name)


def python() -> Path | None:
    """Return its Python, where it is whole and nobody else can have changed it."""
    return python_of(folder)


def make() -> str:
    """Make it, unless it is there. Returns why that was not possible; empty if it is whole."""
    return make_once(folder, python, _make)


def _make(there: Path) -> str:
    private_folder.make_empty(there)
    if said := run(there, sys.executable, "-I", "-m", "venv", str(there)):
        return f"python -m venv failed: {said}"
    own = str(there / "bin" / "python")
    # Compiled below, on all cores.
    pip = (own, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
    install = (*pip, "--only-binary", ":all:")
    [torch] = [pin for pin in pins() if pin.startswith("torch==")]
    build = (*install, "--no-deps", *_file(there / "torch.txt", [f"{torch}+cpu{_hash_of(torch)}"]))
    if run(there, *build) and (said := run(there, *build, "--index-url", CPU_INDEX)):
        return f"neither pip's indexes nor {CPU_INDEX} have {torch} for the CPU: {said}. {_OTHERWISE}"
    if said := run(there, *install, "--require-hashes", *_file(there / "requirements.txt", others())):
        return f"pip cannot install the dependencies of PyTorch and transformers: {said}. {_OTHERWISE}"
    # A child that finds no bytecode compiles what it imports each time, for seconds, since it may not write.
    run(there, own, "-I", "-m", "compileall", "-q", "-j", "0", str(there / "lib"))
    if said := run(there, own, "-I", "-c", _IMPORTED):
        return f"{torch} cannot be imported here: {said}. {_OTHERWISE}"
    return ""


def others() -> list[str]:
    """Return all but PyTorch with the lock's hashes, in the versions of a Mac."""
    locked = lock.part([*BESIDE_TORCH, *COMPARED], lock.entries(lock.LOCK.read_text(encoding="utf-8")))
    return [entry.line(with_marker=False) for entry in locked if entry.marker == "" or _is_for_a_mac(entry.marker)]


def _is_for_a_mac(marker: str) -> bool:
    return Marker(marker).evaluate(dict(_MAC))


def _hash_of(torch: str) -> str:
    """Return the option with the hash of PyTorch's build for this Python; empty, and said, where none is known."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheel = f"torch-{torch.partition('==')[2]}+cpu-{tag}-{tag}-"
    for line in HASHES.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if name.startswith(wheel):
            return f" --hash=sha256:{digest}"
    print(f"no known hash for {wheel}*: trusting the index that it comes from", file=sys.stderr)
    return ""


def hashes_in(page: str, torch: str) -> list[str]:
    """Return the hashes that the page of an index gives of a version's builds for the CPU, as lines of sha256sum."""
    version = re.escape(f"torch-{torch}+cpu-").replace(r"\+", r"(?:\+|%2B)")
    link = rf"({version}(cp\d+)-\2-manylinux\w+_x86_64\.whl)#sha256=([0-9a-f]{{64}})"
    return sorted({f"{digest}  {name.replace('%2B', '+')}" for name, _, digest in re.findall(link, page)})


def _file(file: Path, lines: list[str]) -> tuple[str, str]:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "--requirement", str(file)
