"""Where the two sides of a comparison are: a variant in a work folder, an evidence file, or a published model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlx_publish.commands._known import unknown
from mlx_publish.errors import BadInput, Place
from mlx_publish.evidence.evidence import Evidence, NotEvidence
from mlx_publish.recipes.read import is_folder
from mlx_publish.text.harmless import one_line

_NAMES = ("evidence.json", "mlx-publish.json")


@dataclass(frozen=True)
class Side:
    """One of two that are compared."""

    name: str
    evidence: Evidence


def side_of(text: str, recipe: str | None, work: Path) -> Side:
    """Return the evidence that a word of the command line names. `BadInput` if there is none."""
    if recipe is not None:
        return _of_work(text, _recipe_in(work, recipe))
    path = Path(text)
    if path.is_file():
        return Side(text, _read(path))
    if is_folder(path):
        return Side(text, _read(_within(path)))
    found = sorted(path.parent for path in work.glob(f"*/{text}/evidence.json")) if text.isprintable() else []
    if len(found) == 1 and "/" not in text:
        return _of_work(text, found[0].parent)
    if len(found) > 1 and "/" not in text:
        names = ", ".join(folder.parent.name for folder in found)
        raise BadInput(f"{text} is a variant of {names}", place="A or B", remedy="Choose one with --recipe NAME.")
    if "/" not in text:
        raise BadInput(
            f"'{one_line(text)}' is neither a variant in {work} nor a file, a folder or a repo",
            place="A or B",
            remedy="List variants with 'mlx-publish status', or name the work folder with --work DIR.",
        )
    from mlx_publish.verify.published import find  # noqa: PLC0415  it asks the Hub

    published = find(text)
    return Side(published.name, published.evidence)


def _recipe_in(work: Path, recipe: str) -> Path:
    """Return the folder of a recipe, given by name or by file, in a work folder."""
    name = recipe
    if (path := Path(recipe)).is_file():
        from mlx_publish.recipes.read import recipe_from_file  # noqa: PLC0415

        name = recipe_from_file(path, elsewhere=True).name
    names = sorted({path.parent.parent.name for path in work.glob("*/*/inspect.json")})
    if name not in names:
        raise unknown(name, names)
    return work / name


def _of_work(label: str, folder: Path) -> Side:
    labels = sorted(path.parent.name for path in folder.glob("*/inspect.json"))
    if label not in labels:
        from mlx_publish.text.nearest import did_you_mean  # noqa: PLC0415

        raise BadInput(
            f"no variant '{one_line(label)}' in {folder}{did_you_mean(label, labels)}",
            place="A or B",
            remedy=f"Variants there: {', '.join(labels)}.",
        )
    path = folder / label / "evidence.json"
    if not path.is_file():
        raise BadInput(
            f"no evidence for {label}: it was refused, or its card was not rendered yet; {path} is missing",
            place="A or B",
            remedy="Run: mlx-publish status; it shows what refused it, or how far it is.",
        )
    return Side(label, _read(path))


def _within(folder: Path) -> Path:
    """Return the evidence of a variant's folder or of a published one."""
    found = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    if found is None:
        raise BadInput(
            f"{folder} contains neither {' nor '.join(_NAMES)}",
            place="A or B",
            remedy="Use the folder of a variant, such as work/RECIPE/VARIANT, or a published folder.",
        )
    return found


def _read(path: Path) -> Evidence:
    try:
        return Evidence.read(path)
    except NotEvidence as error:
        message = error.message or "; ".join(map(str, error.faults[:3]))
        raise BadInput(
            f"is not evidence that this version reads: {one_line(message)}",
            place=Place(str(path), error.line),
            remedy="Use an evidence.json or mlx-publish.json written by mlx-publish.",
        ) from None
