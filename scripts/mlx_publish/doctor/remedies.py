"""Commands that fix what a machine lacks, in the words of its system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.machine.snapshot import State
from mlx_publish.machine.state import MUCH_OF_THE_GPU, MUCH_TAKEN

INSTALLERS: Mapping[str, str] = {"apt-get": "sudo apt-get install", "dnf": "sudo dnf install"}
"""Package managers of Linux by their program, in the order in which they are looked for."""
_NAMES: Mapping[str, Mapping[str, str]] = {
    "openblas": {"apt-get": "libopenblas0-pthread", "dnf": "openblas"},
    "python": {"apt-get": "python3.12 python3.12-venv", "dnf": "python3.12"},
}
"""Packages whose name depends on the package manager."""


@dataclass(frozen=True)
class Remedies:
    """The commands of one system."""

    system: str = "Darwin"
    """`Darwin` or `Linux`."""
    installer: str = ""
    """A key of `INSTALLERS`; empty on macOS, and where Linux has none of them."""

    @property
    def mac(self) -> bool:
        """Whether it is macOS."""
        return self.system == "Darwin"

    def install(self, packages: Sequence[str]) -> str:
        """Return the command that installs system packages, as `gh`."""
        if self.mac:
            return f"brew install {' '.join(packages)}"
        names = [_NAMES.get(package, {}).get(self.installer, package) for package in packages]
        if command := INSTALLERS.get(self.installer):
            return f"{command} {' '.join(names)}"
        return f"Install {' and '.join(names)} with the package manager of this system."

    @property
    def newer_python(self) -> str:
        """Return the command that installs a Python that fits."""
        if self.mac:
            return "brew install python@3.13"
        return f"{self.install(['python'])}; or: uv python install 3.13"

    @property
    def open_files(self) -> str:
        """Return the command that raises the hard limit of open files."""
        if self.mac:
            return "sudo launchctl limit maxfiles 65536 200000, then restart the runner"
        return (
            "sudo prlimit --pid $PPID --nofile=65536:65536 in this shell; for a runner's service: "
            "LimitNOFILE=65536 in its [Service] section (sudo systemctl edit)"
        )

    def quiet(self, state: State) -> str:
        """Return how to get a machine on which speeds can be measured."""
        full_power = "sudo pmset -a lowpowermode 0" if self.mac else "powerprofilesctl set balanced"
        names = ", ".join(sorted({program.name for program in state.busiest or ()}))
        busy = f"close other programs{f' ({names})' if names else ''} before you measure"
        steps = (
            ("plug it in", state.power == "battery"),
            (f"turn low power mode off: {full_power}", state.low_power_mode),
            ("let it cool down", state.thermal not in (None, "nominal") or state.gpu_slowdown == "heat"),
            (f"allow its full speed: {full_power}", (state.cpu_speed_limit or 100) < 100),
            (busy, (state.other_cores or 0) > MUCH_TAKEN),
            ("end other programs on the GPU (nvidia-smi lists them)", (state.gpu_others or 0) > MUCH_OF_THE_GPU),
        )
        words = "; ".join(step for step, wanted in steps if wanted)
        return f"{words[:1].upper()}{words[1:]}"

    @property
    def newer_driver(self) -> str:
        """Return how to get a newer driver of an NVIDIA GPU."""
        if self.installer == "apt-get":
            return (
                "On Ubuntu: sudo ubuntu-drivers install; elsewhere: https://www.nvidia.com/drivers. Then restart. In a "
                "container, update the driver of its host."
            )
        return "Install it from https://www.nvidia.com/drivers and restart. In a container, update that of its host."

    @property
    def wrong_products(self) -> str:
        """Return what to do about a GPU that computes wrong."""
        upgrade = "try another version: pip install --upgrade mlx"
        if self.mac:
            return f"Restart the Mac; if that does not help, {upgrade}"
        return f"Restart the machine or update the GPU's driver; if that does not help, {upgrade}"
