"""The text that methods read which choose or learn bits: the package's own, or a local file of the user's.

Nothing here asks the network. What a file shares with the text of the comparison is left out of it: a variant that
learned by heart what it is judged on would look closer to its source than it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from mlx_publish.checks.calibration import CalibrationFacts
from mlx_publish.context import Context
from mlx_publish.errors import Refused
from mlx_publish.evidence.digests import digest_of
from mlx_publish.evidence.quantization import Calibration
from mlx_publish.evidence.sensitivities import CalibrationOrder
from mlx_publish.recipes.read import expanded
from mlx_publish.source.calibration_file import Part, Read, Text, read_file
from mlx_publish.source.logits import texts
from mlx_publish.text.documents import documents
from mlx_publish.text.ngrams import Grams, grams_of, sharing, words

PACKAGE = "package"
_FOLDER = files("mlx_publish").joinpath("data/calibration")
_LONGEST = 8_000
"""Characters of a document that is made of paragraphs: several can be divided between learning and judging."""


@dataclass(frozen=True)
class CalibrationTexts:
    """A text to calibrate on, and where it is from."""

    name: str
    """`package`, or the name of the file."""
    texts: Mapping[str, Sequence[Text]]
    """Documents and dialogues by kind, as `engine.passages.samples` takes them."""
    sha256: str
    """Of these texts: of what is left of the user's file."""
    facts: CalibrationFacts | None = None
    """What was left out of the user's file."""
    place: str = ""
    """The user's file, as errors name it."""


def package_texts() -> dict[str, list[Text]]:
    """Return the package's documents and dialogues by kind, which is the first part of a file's name."""
    found: dict[str, list[Text]] = {}
    for entry in sorted(_FOLDER.iterdir(), key=lambda entry: entry.name):
        kind, dash, _ = entry.name.partition("-")
        if dash and entry.name.endswith(".txt"):
            read = documents(entry.read_text("utf-8"))
            found.setdefault(kind, []).extend(part.turns if kind == "dialogue" else part.text for part in read)
    return found


def calibration_texts(context: Context) -> CalibrationTexts:
    """Return the text of the recipe, read once a run. Raises `BadInput` that names file and line."""
    return context.once("calibration text", lambda: _texts(context))


def calibration_order(context: Context, method: str = "plan") -> CalibrationOrder:
    """Return the text and how much of it a method reads. `Refused` where nothing of a file is left."""
    read, asked = calibration_texts(context), context.recipe.spec.calibration
    if read.facts and not any(read.texts.values()):
        raise Refused("nothing of the calibration text is left", check="calibration-apart", place=read.name)
    amount = asked.amount(method)
    return CalibrationOrder(read.texts, read.sha256, amount.samples, amount.length, asked.seed, read.place)


def calibration_inputs(context: Context, method: str = "plan") -> dict[str, object]:
    """Return what identifies that text and how much of it is read."""
    order = calibration_order(context, method)
    return {"sha256": order.sha256, "samples": order.samples, "length": order.length, "seed": order.seed}


def calibration_record(context: Context, method: str, samples: int | None = None) -> Calibration:
    """Return what evidence says of it; `samples` is how many were read, where the text had fewer than asked for."""
    read, order = calibration_texts(context), calibration_order(context, method)
    return Calibration(read.name, read.sha256, samples or order.samples, order.length, order.seed)


def calibration_facts(context: Context) -> CalibrationFacts | None:
    """Return what was left out of a file of the user's; None for the package's text."""
    return calibration_texts(context).facts if context.recipe.spec.calibration.file else None


def _texts(context: Context) -> CalibrationTexts:
    recipe = context.recipe
    if (file := recipe.spec.calibration.file) is None:
        own = package_texts()
        return CalibrationTexts(PACKAGE, own, digest_of(own))
    folder = Path(recipe.place).resolve().parent if recipe.place else Path.cwd()
    path = (folder / expanded(file)).resolve()
    read = read_file(path, recipe.place_of("calibration.file"))
    found, left_out = _apart(read, held_out_words())
    kept = {"text": found}
    facts = CalibrationFacts(path.name, read.unit, len(read.parts), left_out, digest_of(kept))
    return CalibrationTexts(path.name, kept, facts.sha256, facts, str(path))


def held_out_words() -> Grams:
    """Return the runs of 13 words of the text of the comparison."""
    found = texts()
    dialogues = ("\n".join(turn["content"] for turn in dialogue) for dialogue in found.pop("dialogue"))
    return grams_of(words(text) for text in (*(text for kind in found.values() for text in kind), *dialogues))


def _apart(read: Read, held_out: Grams) -> tuple[list[Text], int]:
    """Return the documents of a file without what it shares with the text of the comparison, and how much that is."""
    if read.flowing:
        shared = sharing([words(part.words) for part in read.parts], held_out)
        kept = groupby(enumerate(read.parts), lambda item: item[0] in shared)
        runs = [[part.words for _, part in run] for is_shared, run in kept if not is_shared]
        return [document for run in runs for document in _packed(run)], len(shared)
    apart = [part for part in read.parts if not sharing([words(part.words)], held_out)]
    return [document for part in apart for document in _documents(part)], len(read.parts) - len(apart)


def _documents(part: Part) -> Iterator[Text]:
    if isinstance(part.text, str):
        yield from _packed([part.text])
    else:
        yield part.text


def _packed(paragraphs: Sequence[str]) -> Iterator[str]:
    """Yield documents of at most `_LONGEST` characters, each of whole paragraphs where these are no longer."""
    document = ""
    for paragraph in paragraphs:
        for start in range(0, len(paragraph), _LONGEST):
            piece = paragraph[start : start + _LONGEST]
            if document and len(document) + len(piece) + 2 > _LONGEST:
                yield document
                document = ""
            document = f"{document}\n\n{piece}" if document else piece
    if document:
        yield document
