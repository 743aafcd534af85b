"""Pictures and sounds, shown to the source once and to every variant; and the places that prompts have for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlx_publish import __version__
from mlx_publish.chat.media import MOST_TOKENS, Medium, asked_in
from mlx_publish.chat.pictures import PICTURES, SIZE
from mlx_publish.chat.sounds import SOUNDS
from mlx_publish.checks.seen import SeenFacts, unheard
from mlx_publish.children.jobs import Job, run_job, run_jobs
from mlx_publish.context import Context
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.seen import Media, MediumAnswer, Moved, Perceived, SlotsRendered
from mlx_publish.machine.resources import side_by_side
from mlx_publish.model.senses import kinds_of, senses_of
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.answers import SourceAnswers
from mlx_publish.source.bounds import at_once, bounds, job_of, rounded, source_fits
from mlx_publish.source.kept import Kept
from mlx_publish.source.layout import prepared_source
from mlx_publish.source.resolve import WEIGHTS, converter, metadata_of, source_of

_MEDIA = {"picture": PICTURES, "sound": SOUNDS}
_LONGEST = 1000
"""Characters of an answer that the report keeps; a token may be of any length."""
_VIDEO = "videos are not drawn"


@dataclass(frozen=True)
class Perceiving:
    """What a source takes beside text, and what it and its variants make of it."""

    context: Context

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is shown: `picture`, `sound`; nothing where text alone is converted.

        A picture is tried, too, where config.json does not say what its encoder is for.
        """
        kinds = kinds_of(metadata_of(self.context).config.raw)
        return (kinds or ("picture",)) if converter(self.context).senses else ()

    @property
    def senses(self) -> tuple[str, ...]:
        """All that the source takes beside text, as `images`, `audio`, `video`."""
        config = metadata_of(self.context).config.raw
        films = any(key.startswith("video_token") for key in config)
        return tuple(dict.fromkeys((*senses_of(config), *(("video",) if films else ()))))

    def facts(self, variants: Sequence[Variant]) -> dict[str, SeenFacts]:
        """Return what the checks judge, by label; empty for a source that takes text alone."""
        if not (kinds := self.kinds):
            return {}
        slots = self._slots(variants)
        source = self._source(self._model(variants[0]))
        arguments = {**self._arguments, "along": to_json(source.apart) if source else {}}
        jobs = [
            job_of(self.context, variant, "perceived", {"processor": self._model(variant), **arguments})
            for variant in variants
        ]
        results = run_jobs(jobs, self.context.console.progress, at_once=at_once(self.context, variants))
        made = [from_json(Perceived, result) for result in results]
        return {
            variant.label: SeenFacts(kinds, own, source, slots[variant.label], variant.quantized)
            for variant, own in zip(variants, made, strict=True)
        }

    @property
    def _arguments(self) -> dict[str, object]:
        return {"kinds": list(self.kinds), "options": SourceAnswers(self.context).questions()[0].options}

    def _model(self, variant: Variant) -> str:
        return str(self.context.work.model(variant.label))

    def _slots(self, variants: Sequence[Variant]) -> dict[str, SlotsRendered]:
        context = self.context
        # Templates need no weights, and those of a source that was streamed are not there.
        paths = [path for path in context.inspected_source.files if not path.endswith(WEIGHTS)]
        with context.work.aside("source") as aside:
            source = source_of(context).lay_out(paths, aside / "source")
            arguments = {
                "source": str(source),
                "templates": dict(metadata_of(context).tokenizer.templates),
                "kinds": list(self.kinds),
            }
            jobs = [job_of(context, variant, "slots", arguments) for variant in variants]
            results = run_jobs(jobs, context.console.progress, at_once=side_by_side(len(jobs), 1 << 28))
        return {
            variant.label: from_json(SlotsRendered, result) for variant, result in zip(variants, results, strict=True)
        }

    def _source(self, tokenizer: str) -> Perceived | None:
        """Return what the source makes of it: kept, or asked where the machine can hold the source."""
        if (known := self._kept().known()) is not None or not source_fits(self.context):
            return known
        context = self.context
        with prepared_source(context) as prepared:
            arguments = {
                "folder": str(prepared.links),
                "processor": str(prepared.source),
                **self._arguments,
                "along": {},
                "tokenizer": tokenizer,
                "source": True,
            }
            job = Job("perceived", arguments, context.work.source / "perceived.log", bounds(context), context.children)
            result = from_json(Perceived, run_job(job, context.console.progress))
        self._kept().keep(result)
        return result

    def _kept(self) -> Kept[Perceived]:
        made_by = {"tools": converter(self.context).versions(), "mlx-publish": __version__}
        asked = {**source_of(self.context).named, **self._arguments}
        return Kept(self.context.work.source / "perceived.json", Perceived, {**asked, **made_by})


def media_of(facts: SeenFacts, senses: Sequence[str]) -> Media:
    """Return what the report keeps; `senses` are all that the source takes, in words."""
    contrasts = [contrast for kind in facts.kinds for contrast in _MEDIA[kind]]
    untested = {sense: _VIDEO for sense in senses if sense == "video"}
    if reason := unheard(facts):
        untested["audio"] = reason
    return Media(
        computed_in=facts.made.computed_in,
        answers=[_answer(medium, facts) for medium in asked_in(contrasts) if medium.name in facts.made.shown],
        moved={name: _short(move) for name, move in facts.moves(contrasts).items()},
        picture_size=SIZE,
        untested=untested,
        most_tokens=MOST_TOKENS,
    )


def _answer(medium: Medium, facts: SeenFacts) -> MediumAnswer:
    own = facts.made.shown[medium.name]
    source = facts.source.shown.get(medium.name) if facts.source else None
    answer = own.answer.answer[:_LONGEST]
    theirs = source.answer.answer[:_LONGEST] if source else None
    return MediumAnswer(
        name=medium.name,
        file=medium.file_name,
        shows=medium.shows,
        question=medium.question,
        answer=answer,
        right=medium.answered(answer),
        prompt_tokens=own.answer.prompt_tokens,
        places=own.places,
        source_answer=theirs,
        source_right=None if theirs is None else medium.answered(theirs),
    )


def _short(move: Moved) -> Moved:
    numbers = rounded(vars(move))
    return Moved(**numbers) if isinstance(numbers, Mapping) else move
