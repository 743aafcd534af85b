"""What a converter is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from mlx_publish.children.other_python import Python
from mlx_publish.machine.packages import versions

if TYPE_CHECKING:
    from mlx_publish.evidence.evidence import Sampling
    from mlx_publish.evidence.measurements import SmokeSpec


@dataclass(frozen=True)
class Support:
    """Model types by name, and the version of the converter that has them."""

    version: str
    types: frozenset[str]
    limited: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Methods of quantization that work with some model types alone, and these."""


@dataclass(frozen=True)
class Commands:
    """What stands in the card's shell blocks; `chat` is empty where there is no chat template."""

    generate: str
    chat: str
    serve: str
    request: str
    quick: str = ""
    """One line that needs no installation and runs the model."""


class Converter(ABC):
    """A library that makes models of MLX, and all that is said about using what it made."""

    order: ClassVar[int] = 0
    """Which one is asked first, of several that can load a model: the lowest."""
    module: ClassVar[str]
    """The package that is imported, which `engine/backends` has a module for."""
    distribution: ClassVar[str]
    """The name to install it by."""
    packages: ClassVar[tuple[str, ...]]
    """Distributions whose version shows in what a model computes."""
    senses: ClassVar[bool] = False
    """Whether it is for models that take more than text."""

    def python(self) -> Python | None:
        """Return the Python that has it, where that is not this one."""
        return None

    def lacking(self) -> str:
        """Return why it cannot be used here; empty where it can, or where nothing but its absence is known."""
        return ""

    def install(self, _tell: Callable[[str], object]) -> str:
        """Install it, if it is one that comes when a source needs it. Returns why it cannot; else nothing."""
        return ""

    def versions(self) -> dict[str, str]:
        """Return the versions of `packages` that are installed, where it is."""
        return versions(*self.packages)

    @abstractmethod
    def support(self) -> Support | None:
        """Return what it can load, without importing it; None where it is not installed."""

    @abstractmethod
    def snippet(self, load_as: str, smoke: SmokeSpec | None) -> str:
        """Return Python that loads the model and answers the smoke test's question."""

    @abstractmethod
    def tools_snippet(self, smoke: SmokeSpec | None) -> str:
        """Return Python that goes on from there and offers a tool; empty where the chat template lists none."""

    @abstractmethod
    def commands(self, load_as: str, smoke: SmokeSpec | None) -> Commands:
        """Return command lines for the model that is called `load_as`."""

    def sampling_flags(self, _sampling: Sampling) -> str:
        """Return options of the command line for recommended sampling; empty where it has none."""
        return ""
