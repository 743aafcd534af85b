"""What a command is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from mlx_publish.text.console import Console


Run: TypeAlias = "Callable[[argparse.Namespace, Console], int]"
"""Does what the options say and returns the exit code."""


class Group(Enum):
    """A heading of `mlx-publish --help`, in the order in which they are printed."""

    START = "Start"
    STAGES = "Stages, each with those it depends on"
    WHOLE = "Whole runs"
    REVIEW = "Review"
    LOOK = "Look at results"
    MACHINE = "This machine"
    GITHUB = "For GitHub and pre-commit"
    OTHER = "Other commands"


@dataclass(frozen=True)
class Command:
    """One word of the command line."""

    name: str
    help: str
    order: int
    """Where it is listed: lower ones come first."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Run
    description: str | None = None
    """Stands above its arguments in its own help."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Inputs of the Action that are called otherwise than their option; an empty one stands in for nothing."""
    extras: tuple[str, ...] | None = ()
    """Extras of the package that its session of nox brings; None where it has no session."""
    computes: bool = False
    """Whether it is a part of the way of a model, on which an architecture is proven and MLX computes."""
    group: Group = Group.OTHER
    """The heading it is listed under in `mlx-publish --help`."""
    example: str = ""
    """A line that can be typed, or several, shown in its help: `mlx-publish clean --dry-run`."""

    @property
    def of_the_action(self) -> bool:
        """Whether the composite action runs it, whose inputs stand in for its options."""
        parser = argparse.ArgumentParser()
        self.add_arguments(parser)
        return parser.get_default("from_env") is not None
