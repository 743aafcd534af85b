"""What a machine needs for the whole pipeline, and the command that fixes what is missing."""

from __future__ import annotations

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.children.gpu_faults import CUDA_DRIVERS
from mlx_publish.children.vision import NOT_INSTALLED as NO_VISION
from mlx_publish.children.vision import VARIABLE as VISION
from mlx_publish.doctor.facts import Facts
from mlx_publish.machine.nvidia import Gpu
from mlx_publish.machine.packages import CUDA_PACKAGES, MOST_DEVIATION
from mlx_publish.machine.snapshot import State
from mlx_publish.machine.state import disturbances
from mlx_publish.text import kit
from mlx_publish.text.numbers import memory, size

LITTLE_DISK, LITTLE_MEMORY = 20e9, 8 << 30
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
OPEN_FILES = 2048
"""What mlx-lm asks for when it is imported; where it may not, the import fails."""


def _python(facts: Facts) -> Says:
    name = ".".join(map(str, facts.python))
    if facts.translated:
        return failed(
            f"Python {name} is an Intel program under Rosetta; MLX has no wheels for it",
            f"{facts.remedies.newer_python}, then set MLX_PUBLISH_PYTHON=/opt/homebrew/bin/python3.13",
        )
    if facts.python[:2] == (3, 10):
        return warned(f"Python {name} is too old for the newest mlx-lm, which needs 3.11", facts.remedies.newer_python)
    return passed(f"Python {name} at {facts.executable}")


def _chip(facts: Facts) -> Says:
    chip = facts.machine.chip or facts.arch
    if facts.system == "Darwin" and facts.arch != "arm64" and not facts.translated:
        return failed(
            f"{chip} is not Apple silicon, so MLX has no GPU here", "Use a Mac with an M-series chip as the runner."
        )
    return passed(f"{chip}, {facts.machine.system}")


def _packages(facts: Facts) -> Says:
    missing = [name for name in ("mlx", "mlx-lm") if name not in facts.versions]
    if missing:
        return failed(f"{' and '.join(missing)} not installed in {facts.executable}", kit.install("mlx"))
    return passed(", ".join(f"{name} {version}" for name, version in facts.versions.items()))


def _reference(facts: Facts) -> Says:
    if facts.torch.reason:
        return warned(
            f"no PyTorch, so 'mlx-publish inspect' cannot prove an architecture: {facts.torch.reason.split(':')[0]}",
            _install_reference(facts),
        )
    versions = ", ".join(f"{name} {version}" for name, version in facts.torch.versions.items())
    return passed(f"{versions} at {facts.torch.python}")


def _install_reference(facts: Facts) -> str:
    if facts.remedies.mac:
        return "pip install torch 'transformers>=5'"
    if facts.checkout is not None:
        return f"sh {facts.checkout}scripts/bootstrap.sh -s reference"
    # PyPI's torch for Linux brings gigabytes of CUDA; pip prefers the version with +cpu of that index.
    return f"{kit.install('reference')} --extra-index-url {CPU_WHEELS}"


def _vision(facts: Facts) -> Says:
    """Judge what few recipes need: without it there is nothing to warn of, unless it was set up and does not work."""
    if not isinstance(facts.vision, str):
        versions = ", ".join(f"{name} {version}" for name, version in facts.vision.versions.items())
        return passed(f"{versions} at {facts.vision.python}")
    if facts.vision == NO_VISION:
        return skipped(f"no mlx-vlm, which only models that see or hear and recipes with mtp need: {_install(facts)}")
    return warned(f"no model that sees or hears can be converted, no drafter proven: {facts.vision}", _remedy(facts))


def _install(facts: Facts) -> str:
    """Return how mlx-vlm comes here; the sessions of a checkout install it for the first model that needs it."""
    if facts.checkout is None:
        return kit.install("mlx,vision")
    return f"the first run through bootstrap.sh that needs it installs it, or: {_session(facts)}"


def _remedy(facts: Facts) -> str:
    if facts.checkout is None:
        return f"{kit.install('mlx,vision')}; or set {VISION} to a Python with mlx-vlm 0.7.10 or newer, below 0.8"
    return f"unset {VISION}; {_session(facts)}"


def _session(facts: Facts) -> str:
    return f"sh {facts.checkout}scripts/bootstrap.sh -s vision"


def _device(facts: Facts) -> Says:
    if isinstance(facts.device, str):
        if facts.builds.keys() & {*CUDA_PACKAGES} and facts.device_remedy:
            return failed(f"MLX does not compute: {facts.device}", facts.device_remedy)
        return failed(
            f"MLX does not compute: {facts.device}",
            f"{kit.install('mlx')}; to see the error: {facts.executable} -c 'import mlx.core as mx; print(mx.ones(3))'",
        )
    device = facts.device
    if facts.remedies.mac and not device.metal:
        return failed(
            "MLX finds no Metal device", "Run it on the Mac itself, not in a virtual machine, and update macOS."
        )
    if not device.deviation <= MOST_DEVIATION:
        return failed(
            f"the GPU gives wrong results: a small product is off by {device.deviation:.1e} of its size",
            facts.remedies.wrong_products,
        )
    if device.device == "cpu":
        return passed("MLX computes on the CPU; speeds will be marked as CPU only")
    name = device.name or "the GPU"
    return passed(f"{name} computes what the CPU does, within {device.deviation:.1e}")


def _cuda(facts: Facts) -> Says:
    """Judge an NVIDIA GPU; where MLX finds a fault with it, `device` says so."""
    installed = {name: version for name, version in facts.builds.items() if name in CUDA_PACKAGES}
    gpu = facts.gpu or Gpu()
    name = gpu.name or "an NVIDIA GPU"
    if len(facts.builds) > 1:
        return failed(
            f"{' and '.join(facts.builds)} are installed, and write the same files",
            f"pip uninstall --yes {' '.join(facts.builds)}; then for the GPU: {kit.install('cuda')}; for the CPU: "
            f"{kit.install('mlx')}",
        )
    if not installed:
        return _unused(facts, name) if facts.gpu else skipped("no NVIDIA GPU")
    build, version = next(iter(installed.items()))
    least = CUDA_DRIVERS[build.rpartition("-")[2]]
    if gpu.driver and int(gpu.driver.split(".")[0]) < least:
        return failed(
            f"driver {gpu.driver} is too old for {build}, which needs {least} or newer",
            facts.remedies.newer_driver,
        )
    if isinstance(facts.device, str) or facts.device.device == "cpu":
        return skipped(f"{build} is installed, and MLX computes on no GPU: see the check 'device'")
    known = facts.device.memory_bytes or gpu.memory_bytes
    parts = (memory(known) if known else "", f"driver {gpu.driver}" if gpu.driver else "", f"{build} {version}")
    return passed(f"{facts.device.name or name}: {', '.join(filter(None, parts))}")


def _unused(facts: Facts, name: str) -> Says:
    """Say that a GPU is there and MLX does not compute on it."""
    least, driver = CUDA_DRIVERS["13"], facts.gpu.driver if facts.gpu else None
    said = f"{name} is not used: MLX's build for the CPU is installed"
    if driver and int(driver.split(".")[0]) < least:
        return warned(
            f"{said}, and driver {driver} is older than {least}, which CUDA 13 needs", facts.remedies.newer_driver
        )
    by_hand = f"pip uninstall --yes mlx-cpu; then {kit.install('cuda')}"
    if facts.checkout is None:
        return warned(said, f"To use it: {by_hand}")
    script = f"MLX_PUBLISH_BACKEND=cuda sh {facts.checkout}scripts/bootstrap.sh -s doctor"
    return warned(said, f"To use it: {script}; in your own environment: {by_hand}")


def _blas(facts: Facts) -> Says:
    if facts.remedies.mac:
        return skipped("macOS brings a fast BLAS")
    if not facts.blas:
        return warned(
            "no OpenBLAS: fidelity and benchmark take many times as long", facts.remedies.install(["openblas"])
        )
    return passed("OpenBLAS is installed")


def _memory(facts: Facts) -> Says:
    own = facts.gpu.memory_bytes if facts.gpu and facts.builds.keys() & {*CUDA_PACKAGES} else None
    if own and own < LITTLE_MEMORY:
        return warned(
            f"{memory(own)} of memory on the GPU: a source of more than about 3 billion parameters does not fit",
            "Use a GPU with more memory for larger models; here their variants are compared with the widest one.",
        )
    if facts.memory_bytes < LITTLE_MEMORY:
        return warned(
            f"{memory(facts.memory_bytes)} of memory: a source of more than about 3 billion parameters does not fit",
            "Use a machine with more memory for larger models; here their variants are compared with the widest one.",
        )
    return passed(memory(facts.memory_bytes) + (f", and {memory(own)} on the GPU" if own else ""))


def _disk(facts: Facts) -> Says:
    free = ", ".join(f"{size(free)} free in {folder}" for folder, free in facts.disk_bytes.items())
    if min(facts.disk_bytes.values()) < LITTLE_DISK:
        return warned(
            f"little disk space: {free}",
            "mlx-publish clean and hf cache prune delete what is not needed; HF_HOME moves the Hub's cache.",
        )
    return passed(free)


def _open_files(facts: Facts) -> Says:
    if 0 <= facts.open_files < OPEN_FILES:
        return failed(
            f"the hard limit of open files is {facts.open_files}; mlx-lm needs {OPEN_FILES}", facts.remedies.open_files
        )
    return passed("the limit of open files is high enough")


def _quiet(facts: Facts) -> Says:
    now = disturbances(facts.state, State())
    if now.refusals or now.remarks:
        sentences = " ".join((*now.refusals, *now.remarks)).replace(" before the measurement", "")
        effect = "would not be published" if now.refusals else "would carry a remark"
        return warned(f"speeds measured now {effect}: {sentences}", facts.remedies.quiet(facts.state))
    return passed("nothing disturbs a measurement")


def _programs(facts: Facts) -> Says:
    missing = [name for name, path in facts.programs.items() if path is None]
    if missing:
        return warned(f"no {' and no '.join(missing)}, needed by 'mlx-publish review'", facts.remedies.install(missing))
    return passed("git and gh are installed")


def _hub(facts: Facts) -> Says:
    if facts.offline:
        return warned(
            "no connection to the Hub: only models in local folders can be converted, and only to local folders",
            "Check the network; behind a proxy: export HTTPS_PROXY=http://HOST:PORT; a mirror: export HF_ENDPOINT=URL",
        )
    if facts.hub:
        return failed(facts.hub, "Check the proxy in HTTPS_PROXY; to ask the Hub itself: unset HF_ENDPOINT")
    return passed("the Hub answers")


def _token(facts: Facts) -> Says:
    if facts.token is None:
        return skipped("no token is set; only upload needs one")
    if facts.token.publishes:
        return passed(f"the token's role is {facts.token.role}")
    return warned(
        f"this token cannot publish: {facts.token.role}",
        "Create one with write access at https://huggingface.co/settings/tokens, then: export HF_TOKEN=hf_...",
    )


MACHINE: tuple[Check[Facts], ...] = (
    Check("python", "Python is supported", "a missing wheel", _python),
    Check("chip", "The chip is supported", "a Mac without a GPU for MLX", _chip),
    Check("packages", "MLX is installed", "a run that stops at its second stage", _packages),
    Check("reference", "PyTorch is installed", "an unproven architecture", _reference),
    Check("vision", "mlx-vlm is installed", "a model that sees and cannot be converted", _vision),
    Check("device", "The device computes correctly", "a model spoilt by the machine", _device),
    Check("cuda", "An NVIDIA GPU is used", "hours on the CPU beside an idle GPU", _cuda),
    Check("fast-blas", "The CPU has a fast BLAS", "hours instead of minutes", _blas),
    Check("memory", "Memory is sufficient", "a source that does not fit", _memory),
    Check("disk", "Disk space is sufficient", "a run that stops midway", _disk),
    Check("open-files", "Enough files can be open", "an mlx-lm that cannot be imported", _open_files),
    Check("quiet", "Nothing disturbs a measurement", "speeds that cannot be published", _quiet),
    Check("programs", "git and gh are installed", "a review that cannot be opened", _programs),
    Check("hub", "The Hub answers", "a run that stops at its first stage", _hub),
    Check("token", "The token can publish", "a run that stops at its last stage", _token),
)


def summary(facts: Facts, failures: int) -> str:
    """Return the verdict in a line: fit and for what, or the number of problems."""
    if failures:
        return f"not fit: {failures} problem{'' if failures == 1 else 's'}"
    device = facts.device
    if isinstance(device, str) or device.device == "cpu":
        fit = "fit, speeds will be those of a CPU"
    elif not device.metal:
        fit = f"fit, speeds will be those of {device.name or 'an NVIDIA GPU'} (CUDA)"
    else:
        fit = "fit"
    return f"{fit}; offline, for local folders only" if facts.offline else fit
