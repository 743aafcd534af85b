"""The files that say how a source's pictures become numbers: whether they are there, possible, and fit the tower."""

from __future__ import annotations

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.processor import FILES, misfits
from mlx_publish.model.senses import senses_of

_FIX = "Take these files from the model that the source was made from, or choose another source."


def _fits(facts: SourceFacts) -> Says:
    if "images" not in senses_of(facts.source.config.raw):
        return passed("it takes no pictures")
    read = {path: facts.source.json(path) for path in FILES if path in facts.source.entries}
    files = {path: content for path, content in read.items() if content is not None}
    found = misfits(files, facts.source.config.raw)
    if found.wrong:
        return failed(f"the image processor cannot be used: {'; '.join(found.wrong)}", _FIX)
    if found.odd:
        return warned(f"the image processor is unusual: {'; '.join(found.odd)}", "Look at answers about pictures.")
    return passed(f"{' and '.join(sorted(files))} fit the tower of config.json")


PROCESSOR: tuple[Check[SourceFacts], ...] = (
    Check(
        "processor-fits",
        "The image processor's files are possible and fit the tower",
        "pictures that reach the tower as noise",
        _fits,
        when=lambda facts: facts.loads.senses,
    ),
)
