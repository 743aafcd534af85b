"""What a machine needs for the whole way, and the command that mends what is missing."""

from __future__ import annotations

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.doctor.facts import Facts
from mlx_publish.machine.packages import MOST_DEVIATION
from mlx_publish.machine.snapshot import State
from mlx_publish.machine.state import disturbances
from mlx_publish.text.numbers import memory, size

LITTLE_DISK, LITTLE_MEMORY = 20e9, 8 << 30
OPEN_FILES = 2048
"""What mlx-lm asks for when it is imported; where it may not, the import fails."""


def _python(facts: Facts) -> Says:
    name = ".".join(map(str, facts.python))
    if facts.translated:
        return failed(
            f"Python {name} is an Intel program under Rosetta, and MLX has no wheels for it",
            "brew install python@3.13, then set MLX_PUBLISH_PYTHON=/opt/homebrew/bin/python3.13",
        )
    if facts.python[:2] == (3, 10):
        return warned(f"Python {name}: the newest mlx-lm needs 3.11", "brew install python@3.13")
    return passed(f"Python {name} at {facts.executable}")


def _chip(facts: Facts) -> Says:
    chip = facts.machine.chip or facts.arch
    if facts.system == "Darwin" and facts.arch != "arm64" and not facts.translated:
        return failed(f"{chip} is no Apple silicon, so MLX has no GPU here", "Take a Mac with an M chip as runner.")
    if facts.system != "Darwin":
        return warned(f"{chip} on {facts.system}: numbers will be those of a CPU", "Publish speeds from a Mac only.")
    return passed(f"{chip}, {facts.machine.system}")


def _packages(facts: Facts) -> Says:
    missing = [name for name in ("mlx", "mlx-lm") if name not in facts.versions]
    if missing:
        return failed(f"{' and '.join(missing)} not installed in {facts.executable}", "pip install 'mlx-publish[mlx]'")
    return passed(", ".join(f"{name} {version}" for name, version in facts.versions.items()))


def _reference(facts: Facts) -> Says:
    if facts.torch.reason:
        return warned(
            f"no PyTorch, so 'mlx-publish inspect' proves no architecture: {facts.torch.reason}",
            "pip install torch 'transformers>=5'"
            if facts.system == "Darwin"
            else "sh scripts/bootstrap.sh -s reference",
        )
    versions = ", ".join(f"{name} {version}" for name, version in facts.torch.versions.items())
    return passed(f"{versions} at {facts.torch.python}")


def _device(facts: Facts) -> Says:
    if isinstance(facts.device, str):
        return failed(
            f"MLX does not compute: {facts.device}", "Run: python -c 'import mlx.core as mx; print(mx.ones(3))'"
        )
    device = facts.device
    if facts.system == "Darwin" and not device.metal:
        return failed(
            "MLX finds no Metal device", "Run it on the Mac itself and not in a virtual machine; update macOS."
        )
    if not device.deviation <= MOST_DEVIATION:
        return failed(
            f"the GPU computes wrong: a small product is off by {device.deviation:.1e} of its size",
            "Restart the Mac; then try another version: pip install --upgrade mlx",
        )
    if device.device == "cpu":
        return passed("the CPU computes; there is no GPU to compare with it")
    return passed(f"{device.name or 'the GPU'} computes what the CPU does, up to {device.deviation:.1e}")


def _blas(facts: Facts) -> Says:
    if facts.system == "Darwin":
        return skipped("macOS has a fast one of its own")
    if not facts.blas:
        return warned(
            "no OpenBLAS, so comparing and measuring take many times as long",
            "apt-get install libopenblas0-pthread",
        )
    return passed("OpenBLAS is there")


def _memory(facts: Facts) -> Says:
    if facts.memory_bytes < LITTLE_MEMORY:
        return warned(
            f"{memory(facts.memory_bytes)}: a source of more than some 3 billion parameters does not fit",
            "Such variants are compared with the widest one; take a larger Mac for them.",
        )
    return passed(memory(facts.memory_bytes))


def _disk(facts: Facts) -> Says:
    free = ", ".join(f"{size(free)} in {folder}" for folder, free in facts.disk_bytes.items())
    if min(facts.disk_bytes.values()) < LITTLE_DISK:
        return warned(
            f"little is free: {free}",
            "Free some; old sources of the Hub go with: hf cache prune, or move them by HF_HOME.",
        )
    return passed(free)


def _open_files(facts: Facts) -> Says:
    if 0 <= facts.open_files < OPEN_FILES:
        return failed(
            f"a program may open {facts.open_files} files, and mlx-lm wants {OPEN_FILES}",
            "sudo launchctl limit maxfiles 65536 200000, and start the runner again; on Linux: ulimit -Hn 65536",
        )
    return passed("enough files may be open")


def _quiet(facts: Facts) -> Says:
    now = disturbances(facts.state, State())
    if now.refusals or now.remarks:
        sentences = " ".join((*now.refusals, *now.remarks)).replace(" before the measurement", "")
        return warned(
            f"speeds measured now would not be printed or need a remark: {sentences}",
            "Plug it in, switch low power mode off, end other programs: sudo pmset -a lowpowermode 0",
        )
    return passed("nothing disturbs a measurement")


def _programs(facts: Facts) -> Says:
    missing = [name for name, path in facts.programs.items() if path is None]
    if missing:
        return warned(
            f"no {' and no '.join(missing)}, which 'mlx-publish review' needs",
            "brew install " + " ".join(missing) if facts.system == "Darwin" else "apt-get install " + " ".join(missing),
        )
    return passed("git and gh are there")


def _hub(facts: Facts) -> Says:
    if facts.hub:
        return failed(facts.hub, "Check the network, a proxy (HTTPS_PROXY) and HF_ENDPOINT.")
    return passed("the Hub answers")


def _token(facts: Facts) -> Says:
    if facts.token is None:
        return skipped("no token is set; only upload needs one")
    if facts.token.publishes:
        return passed(f"the token's role is {facts.token.role}")
    return warned(
        f"this token cannot publish: {facts.token.role}",
        "Make one with write access at https://huggingface.co/settings/tokens",
    )


MACHINE: tuple[Check[Facts], ...] = (
    Check("python", "Python fits", "a wheel that does not exist", _python),
    Check("chip", "The chip is Apple's", "numbers of another machine", _chip),
    Check("packages", "MLX is installed", "a run that ends at its second stage", _packages),
    Check("reference", "PyTorch is installed", "an architecture that nobody proved", _reference),
    Check("device", "The device computes right", "a model that is spoilt by the machine", _device),
    Check("fast-blas", "The CPU has a fast BLAS", "hours in the place of minutes", _blas),
    Check("memory", "There is enough memory", "a source that does not fit", _memory),
    Check("disk", "There is enough disk", "a run that ends in the middle", _disk),
    Check("open-files", "Enough files may be open", "mlx-lm cannot be imported", _open_files),
    Check("quiet", "Nothing disturbs a measurement", "speeds that are not printed", _quiet),
    Check("programs", "git and gh are there", "a review that cannot be opened", _programs),
    Check("hub", "The Hub answers", "a run that ends at its first stage", _hub),
    Check("token", "The token may publish", "a run that ends at its last stage", _token),
)
