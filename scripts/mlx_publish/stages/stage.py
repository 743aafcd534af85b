"""What a stage is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.context import Context, Outcome
from mlx_publish.evidence.stages import Traits
from mlx_publish.recipes.recipe import Variant


@dataclass(frozen=True)
class Stage:
    """One step of the way: what it is like, and what it does."""

    traits: Traits
    inputs: Callable[[Context, Variant], Mapping[str, object]]
    """Digests of everything that the result depends on."""
    run: Callable[[Context, Sequence[Variant]], Mapping[str, Outcome]]
    """Does the work for all given variants; outcomes by label."""
    complete: Callable[[Context, Variant], bool] = lambda _context, _variant: True
    """Whether what the stage made is still there, whole."""
    edited: Callable[[Context, Variant], Iterable[str]] = lambda _context, _variant: ()
    """What happened to the files of the stage where `complete` is false, each in words."""
    ahead: Callable[[Context], None] = lambda _context: None
    """Starts what may be started before the stages that it needs have ended; called where it is likely to run."""

    early: bool = False
    """Whether it may begin while the source's identity is being found, and with it the reports that hold it.

    It takes those from the context, and settles them before it puts anything in its place.
    """

    @property
    def name(self) -> str:
        """Its name: the command, and the name of its report."""
        return self.traits.name
