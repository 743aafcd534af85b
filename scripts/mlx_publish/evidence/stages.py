"""The stages in their order, and what each is like. Light: the command line and the reports know them by this."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """What a stage is like; `stages/` has what it does."""

    name: str
    help: str
    needs: str | None = None
    """The stage that has to be up to date before this one; it brings its own along."""
    computes: bool = False
    """One at a time runs on a machine."""
    tests: bool = False
    """Without it nothing is published, unless the recipe accepts that with a reason."""
    measures: bool = False
    """What it finds of the converted bytes stands in the evidence, or the reason for which it is not there."""
    reads_all: bool = False
    """It reads reports of all the variants of a recipe."""
    collects: bool = False
    """Its report names the reports of all stages before it, and not those of the stages that it needs alone."""
    publishes: bool = False
    """It looks again at each run, waits until no variant is refused, and nothing reads its report."""


INSPECT = Traits("inspect", "check the source's metadata: can it be converted, is there enough disk and memory")
CONVERT = Traits("convert", "download the pinned source and convert all variants", "inspect", computes=True)
SMOKE = Traits(
    "smoke", "render the chat template and generate an answer", "convert", computes=True, tests=True, measures=True
)
FIDELITY = Traits(
    "fidelity",
    "compare with the source: KL divergence and top-1 agreement",
    "convert",
    computes=True,
    tests=True,
    measures=True,
    reads_all=True,
)
BENCHMARK = Traits("benchmark", "measure speed and memory", "convert", computes=True, measures=True)
CARD = Traits("card", "assemble the evidence and render the card", "convert", reads_all=True, collects=True)
UPLOAD = Traits("upload", "publish what was converted, measured and reviewed", "card", collects=True, publishes=True)

ORDER: tuple[Traits, ...] = (INSPECT, CONVERT, SMOKE, FIDELITY, BENCHMARK, CARD, UPLOAD)
NAMES: tuple[str, ...] = tuple(stage.name for stage in ORDER)
TESTED: tuple[str, ...] = tuple(stage.name for stage in ORDER if stage.tests)
MEASURED: tuple[str, ...] = tuple(stage.name for stage in ORDER if stage.measures)


def before(name: str) -> tuple[str, ...]:
    """Return the stages whose reports a stage's report names, in their order; nothing for a name that is no stage."""
    stage = next((stage for stage in ORDER if stage.name == name), None)
    if stage is None:
        return ()
    if stage.collects:
        return NAMES[: NAMES.index(name)]
    return (*before(stage.needs), stage.needs) if stage.needs else ()
