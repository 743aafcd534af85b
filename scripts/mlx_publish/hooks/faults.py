"""How a hook is called, and how the faults it finds are printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_publish.errors import Fault, PublishError, Refused, in_file
from mlx_publish.text.harmless import harmless, plain


@dataclass(frozen=True)
class Options:
    """How the hook was called."""

    fix: bool = False
    """Fix what can be fixed safely."""
    recipes: Path = Path("recipes")
    """Folder of the recipes."""


def faults_of(error: PublishError, file: Path) -> Iterator[Fault]:
    """Yield the faults of an error that came up over `file`, each at its own place; only the first has the remedy."""
    for number, fault in enumerate(error.faults):
        place = fault.place
        if place.line:
            # A refusal names a file within the model's folder.
            where = in_file(file.parent / place.name if isinstance(error, Refused) else place.name, place.line)
            located = replace(fault, place=where)
        elif place.name in ("", file.name, str(file)):
            located = replace(fault, place=in_file(file))
        else:
            located = Fault(str(fault), in_file(file), remedy=fault.remedy)
        yield replace(located, remedy="") if number else located


def tell(faults: Iterable[Fault], title: str = "mlx-publish") -> None:
    """Print faults; in a job also as annotations at their lines, under a title."""
    from mlx_publish.github.runner import Runner  # noqa: PLC0415  mostly there is nothing to print

    runner = Runner.from_env()
    for fault in faults:
        lines = [str(fault), *([f"  next: {fault.remedy}"] if fault.remedy else [])]
        print(harmless(plain("\n".join(lines))), flush=True)
        runner.annotate(fault.text, fault.place, title=title)
