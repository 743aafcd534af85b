"""What a hook finds: a place in a file, what is wrong there, and the next step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.errors import PublishError
from mlx_publish.text.harmless import harmless, plain

_PLACE = re.compile(r"(?P<file>[^\n]+?):(?P<line>\d+): (?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True)
class Options:
    """How the hook was called."""

    fix: bool = False
    """Mend what can safely be mended."""
    recipes: Path = Path("recipes")
    """Where recipes lie."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or was: `fixed` where the file says it right now."""

    file: Path
    message: str
    line: int = 1
    key: str = ""
    remedy: str = ""
    fixed: bool = False

    def __str__(self) -> str:
        """Return the form that editors and terminals make a link of."""
        return f"{self.file}:{self.line}: {self.said}"

    @property
    def said(self) -> str:
        """Key and message."""
        return ": ".join(part for part in (self.key, "fixed" if self.fixed else "", self.message) if part)


def problems_of(error: PublishError, file: Path) -> Iterator[Problem]:
    """Yield what an error tells of a file; a message of several lines is several problems, each with its own place."""
    for number, line in enumerate(str(error).split("\n")):
        found = _PLACE.fullmatch(line)
        # A file within a model folder is named without the folder.
        named = file.parent / Path(found["file"]).name if found else file
        place = int(found["line"]) if found else 1
        message = found["rest"] if found else line.removeprefix(f"{file}: ").removeprefix(f"{file.name}: ")
        yield Problem(named, message, place, remedy="" if number else error.remedy)


def tell(problems: Iterable[Problem]) -> None:
    """Print them; inside an action also as annotations at their lines."""
    from mlx_publish.github.runner import Runner  # noqa: PLC0415  mostly there is nothing to tell

    runner = Runner.from_env()
    for problem in problems:
        lines = [str(problem), *([f"  next: {problem.remedy}"] if problem.remedy else [])]
        print(harmless(plain("\n".join(lines))), flush=True)
        runner.annotate(problem.said, f"{problem.file}:{problem.line}")
