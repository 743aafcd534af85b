"""What every stage takes, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from mlx_publish.children.engine import Children
from mlx_publish.errors import BadInput
from mlx_publish.evidence.report import Finding, Report
from mlx_publish.evidence.results import Converted, Inspected, InspectedSource
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.text.console import Console
from mlx_publish.work import Work

T = TypeVar("T")


@dataclass(frozen=True)
class Later:
    """A text that takes a while to find; `find` waits for it."""

    find: Callable[[], str]


@dataclass(frozen=True)
class Outcome:
    """A stage's findings and result for one variant."""

    checks: tuple[Finding, ...]
    result: object = field(default_factory=dict)
    """A record of `evidence/results.py`; empty if the variant was refused before there was a result."""
    whole: Callable[[], Outcome] | None = None
    """Waits for what this one lacks; of the same verdict. None if it lacks nothing."""


@dataclass(frozen=True)
class Unwritten:
    """Reports of a stage that wait for something: as far as they are known, by label, and what writes them."""

    stage: str
    reports: Mapping[str, Report]
    write: Callable[[], object]


@dataclass
class Context:
    """One run: the recipe, the variants asked for, the work folder, the console."""

    recipe: Recipe
    variants: tuple[Variant, ...]
    work: Work
    console: Console
    force: frozenset[str] = frozenset()
    """Stages to repeat although nothing changed."""
    tag: str | None = None
    cards: Path | None = None
    """Where the reviewed cards lie, when what was reviewed is published and not what lies in the work folder."""
    planned: frozenset[str] = frozenset()
    """All stages of this run: what a later one needs of the source is best done while it is in memory."""
    anew: bool = True
    """Whether a branch of the source is looked up; else it is the commit of the last `inspect`."""
    rebuild: Callable[[Context, Sequence[Variant]], Mapping[str, Mapping[str, str]]] | None = None
    """Converts variants once more, in an empty folder, for `upload` to compare; SHA-256 by path, by label."""
    plans: Mapping[str, Path] = field(default_factory=dict)
    """By label, the plan that `convert` follows byte for byte, so that nothing is measured: the one that was reviewed,
    or published."""
    dry_run: bool = False
    """Whether `upload` only says what it would do; its report then replaces none."""
    children: Children = field(default_factory=Children)
    """Processes that load MLX while the source is still looked at."""
    unwritten: list[Unwritten] = field(default_factory=list)
    """Reports that wait for the source's identity."""
    ending: ExitStack = field(default_factory=ExitStack)
    """What is ended with the run, as processes that take digests."""
    _kept: dict[str, object] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returns, made once a run, as the source's list of files."""
        if name not in self._kept:
            self._kept[name] = make()
        return cast("T", self._kept[name])

    def settle(self) -> None:
        """Write the reports that wait for the source's identity. Raises what finding it raises."""
        while self.unwritten:
            self.unwritten[0].write()
            del self.unwritten[0]

    def report(self, variant: Variant, stage: str) -> Report:
        """Return the report of an earlier stage. `BadInput` if it has not run."""
        waiting = (given.reports.get(variant.label) for given in self.unwritten if given.stage == stage)
        report = next(waiting, None) or self.work.report(variant.label, stage)
        if report is None:
            raise BadInput(
                f"no {stage}.json for {variant.label} in {self.work.folder}",
                remedy=f"Run 'mlx-publish {stage}' with the same recipe and --work first.",
            )
        return report

    def inspected(self, variant: Variant) -> Inspected:
        """Return what `inspect` reports of a variant. `BadInput` if it has not run."""
        return self._result(variant, "inspect", Inspected)

    @property
    def inspected_source(self) -> InspectedSource:
        """What `inspect` reports of the source, by the first variant that it did not refuse."""
        let_pass = (self.report(variant, "inspect").read(Inspected) for variant in self.variants)
        return (next(filter(None, let_pass), None) or self.inspected(self.variants[0])).source

    def converted(self, variant: Variant) -> Converted:
        """Return what `convert` reports of a variant. `BadInput` if it has not run."""
        return self._result(variant, "convert", Converted)

    def _result(self, variant: Variant, stage: str, kind: type[T]) -> T:
        result = self.report(variant, stage).read(kind)
        if result is None:
            raise BadInput(
                f"{self.work.report_path(variant.label, stage)} has the report format of another mlx-publish version",
                remedy=f"Run 'mlx-publish {stage} --force' with the same recipe and --work first.",
            )
        return result

    def title(self, variant: Variant) -> str:
        """Name a variant in messages."""
        return f"{self.recipe.name} · {variant.label}"
