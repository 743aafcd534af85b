"""A repo's own templates of the card: where they lie, what is in them, and which evidence was made with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mlx_publish.errors import BadInput, Refused
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.recipes.recipe import Recipe

FOLDER = "templates/card"
ENDING = ".j2"
CHART = "ladder.svg.j2"
PACKAGED = Path(__file__).resolve().parents[1] / "templates"
"""All templates of the package."""


@dataclass(frozen=True)
class Templates:
    """The files of one folder that differ from ours, as (name, text)."""

    folder: Path
    texts: tuple[tuple[str, str], ...]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each by name: what the evidence keeps."""
        return {name: digest(text) for name, text in self.texts}


def digest(text: str) -> str:
    """Return the SHA-256 of a template."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def packaged() -> Mapping[str, str]:
    """Return our own templates, by name."""
    ours = (PACKAGED / "card").iterdir()
    return {path.name: path.read_text(encoding="utf-8") for path in ours if path.name.endswith(ENDING)}


def templates_beside(recipe: Recipe) -> Path | None:
    """Return the folder of templates that belongs to a recipe; None for one that is no file."""
    place = Path(recipe.place)
    return find_templates(place) if recipe.place and place.is_file() else None


def templates_of(recipe: Recipe) -> dict[str, str]:
    """Return digests of the templates that belong to a recipe, by name; empty where it has none of its own."""
    own = read_templates(templates_beside(recipe))
    return own.digests if own else {}


def find_templates(path: Path) -> Path | None:
    """Return the nearest `templates/card` from a file upwards, within its git repo.

    Without git, only beside the file and in the folder above: what lies further up belongs to somebody else.
    """
    above = path.resolve().parents
    root = next((folder for folder in above if (folder / ".git").exists()), None)
    within = above[: above.index(root) + 1] if root else above[:2]
    return next((folder / FOLDER for folder in within if (folder / FOLDER).is_dir()), None)


def read_templates(folder: Path | None) -> Templates | None:
    """Read a folder of templates; None where it holds none that differs from ours. `BadInput` names the file."""
    if folder is None:
        return None
    paths = sorted(folder.rglob(f"*{ENDING}"))
    texts = tuple((path.relative_to(folder).as_posix(), _text(path, folder)) for path in paths)
    own = tuple((name, text) for name, text in texts if text != packaged().get(name))
    if any(name == CHART for name, _ in own):
        raise BadInput(
            "the chart is drawn by code and has no template of your own",
            place=str(folder / CHART),
            remedy="Remove the file; leave the picture out by a variants.md.j2 of your own.",
        )
    return Templates(folder, own) if own else None


def _text(path: Path, folder: Path) -> str:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadInput("a template must not be a link that leads out of its folder", place=str(path), remedy="Copy it.")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot be read: {error}", place=str(path), remedy="Save it as a text in UTF-8.") from error


def judge(own: Templates | None, evidence: Evidence) -> None:
    """Raise `Refused` where the evidence was made with other templates: then the card would be another one too."""
    here, then = own.digests if own else {}, evidence.templates
    other = sorted(name for name in here.keys() | then.keys() if here.get(name) != then.get(name))
    if other:
        name = other[0]
        what = "is new" if name not in then else "is gone" if name not in here else "has changed"
        raise Refused(
            f"the template {FOLDER}/{name} {what} since the evidence was made",
            check="card-rendered",
            remedy="Run 'mlx-publish card' again with these templates, or take back the change.",
        )
