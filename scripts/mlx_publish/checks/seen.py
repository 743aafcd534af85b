"""Pictures and sounds: their places in prompts, answers about them, and whether they move the model as the source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.chat.media import Contrast, Medium, asked_in
from mlx_publish.chat.pictures import PICTURES
from mlx_publish.chat.sounds import SOUNDS
from mlx_publish.checks.answers import fault_of
from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.evidence.measured import RenderedText
from mlx_publish.evidence.seen import USERS, Moved, Perceived, Shown, Slots, SlotsRendered, moved

_STILL = 1e-3
"""Nats of a move below which a source does not look: rounding in half precision is of that order."""
_IGNORES = 0.1
"""Share of the source's move below which a model ignores what it is shown. Toys at 2 bits keep 0.8 of it."""
_OTHERWISE = 0.5
"""Likeness below which a model is moved otherwise than the source. At 4 bits most toys keep 0.9, at 2 bits 0.3."""
_OPPOSITE = -0.2
_TOKEN = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]")
"""How families write tokens that stand for media."""
_QUOTED = 80  # characters of a slot or an answer
_FILES = "Compare preprocessor_config.json, processor_config.json and the chat template of source and output."
_TOWER = "Compare config.json, tower and projector of source and output; convert.json lists the tensors."
_TEXT_ONLY = "Publish only the text part ('modality: text' in the recipe), or choose another source."


@dataclass(frozen=True)
class SeenFacts:
    """What a variant and its source make of pictures and sounds."""

    kinds: tuple[str, ...]
    """`picture`, `sound`: what was asked."""
    made: Perceived
    source: Perceived | None
    """None if the source does not fit this machine."""
    slots: SlotsRendered
    quantized: bool

    @property
    def pictures(self) -> bool:
        """Whether pictures were asked about."""
        return "picture" in self.kinds

    @property
    def sounds(self) -> bool:
        """Whether sounds were asked about."""
        return "sound" in self.kinds

    def moves(self, contrasts: Sequence[Contrast]) -> dict[str, Moved]:
        """Return how far each contrast moves the variant, beside the source."""
        own, theirs = self.made.apart, self.source.apart if self.source else {}
        names = [contrast.name for contrast in contrasts if contrast.name in own]
        return {name: moved(own[name], theirs.get(name)) for name in names}


def slot(with_: str, without: str) -> str:
    """Return what stands in a prompt for its media: what is not there without them."""
    start = _shared(with_, without)
    end = len(with_) - _shared(with_[start:][::-1], without[start:][::-1])
    # Of tokens that begin alike, as "<img>" in front of "</s>", the sign that both share belongs to the one put in.
    whole = next((at for at in range(start, -1, -1) if with_[at:start] != with_[end - (start - at) : end]), -1) + 1
    opened = next((at for at in range(whole, start) if with_[at] in "<["), start)
    return with_[opened : end - (start - opened)]


def _shared(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _slots(facts: SeenFacts) -> Says:
    """Fail where a dialogue with media becomes other ids than the source's, or a prompt has other places for them."""
    if (says := _other_slots(facts.slots)) or (says := _other_prompts(facts)):
        return says
    if not facts.slots.template:
        return warned("no chat template; the token of a picture is put in front of the question")
    lacking = [name for name, dialogue in facts.slots.dialogues.items() if _lacks(dialogue.source, dialogue)]
    count = len(facts.slots.dialogues)
    if own := [name for name in lacking if name != USERS]:
        words = f"{len(own)} of {count} dialogues, first {own[0]!r}"
        return warned(f"the source's chat template has no place for the media of {words}", dialogues=own)
    if facts.slots.users == "none" or lacking:
        return warned("mlx_vlm.generate puts no picture into the prompts of this family; give it the messages yourself")
    first = next(iter(facts.slots.dialogues.values()))
    if token := _twice(slot(first.made.text, first.made_without)):
        return warned(
            f"the source's chat template writes {token[:_QUOTED]!r} twice for one picture or sound: a place stays empty",
            "Correct the chat template in the source, or ask its makers; transformers refuses such a prompt.",
        )
    shown = slot(first.made.text, first.made_without)[:_QUOTED]
    return passed(
        f"{count} dialogues with media give the same ids as the source's; a picture or sound becomes {shown!r}",
        written_by_mlx_vlm=facts.slots.users,
    )


def _twice(written: str) -> str:
    """Return a token that a place for one medium has more than once; empty if there is none."""
    tokens = _TOKEN.findall(written)
    return next((token for token in tokens if tokens.count(token) > 1), "")


def _lacks(text: RenderedText, dialogue: Slots) -> bool:
    return text.error is None and not slot(text.text, dialogue.source_without)


def _other_slots(slots: SlotsRendered) -> Says | None:
    for name, dialogue in slots.dialogues.items():
        source, made = dialogue.source, dialogue.made
        if source.error is not None and made.error is not None:
            continue  # refused by both; the words of an error may name a file
        if made.error is not None:
            return failed(f"the dialogue {name!r} cannot be rendered any more: {made.error}", _FILES)
        if (
            source.error is None
            and slot(source.text, dialogue.source_without)
            and not slot(made.text, dialogue.made_without)
        ):
            return failed(
                f"the chat template drops what is shown: the dialogue {name!r} has no place for it, the source's has",
                _FILES,
            )
        if source.error is None and source.ids != made.ids:
            at = next(
                (n for n, (a, b) in enumerate(zip(source.ids, made.ids, strict=False)) if a != b),
                min(len(source.ids), len(made.ids)),
            )
            return failed(f"the dialogue {name!r} becomes other ids than the source's, from token {at} on", _FILES)
    return None


def _other_prompts(facts: SeenFacts) -> Says | None:
    """Judge the whole prompts, in which a processor has made as many places as there are features."""
    theirs = facts.source.shown if facts.source else {}
    for name, own in facts.made.shown.items():
        source = theirs.get(name)
        if own.places == 0 and (source is None or source.places):
            return failed(f"the prompt about {name!r} has no place for what is shown", _FILES)
        if source is not None and source.prompt_sha256 != own.prompt_sha256:
            what = f"{own.answer.prompt_tokens} tokens with {own.places} places for what is shown"
            others = f"the source's {source.answer.prompt_tokens} with {source.places}"
            return failed(f"the prompt about {name!r} has {what}, {others}", _FILES)
    return None


def _faults(facts: SeenFacts, contrasts: Sequence[Contrast]) -> Says | None:
    """Judge what mlx-vlm raises: a model that cannot be shown anything must not claim that it sees."""
    names = {medium.name for medium in asked_in(contrasts)} | {contrast.name for contrast in contrasts}
    broken = {name: fault for name, fault in facts.made.faults.items() if name in names}
    if not broken:
        return None
    name, fault = next(iter(broken.items()))
    too = facts.source is not None and name in facts.source.faults
    also = "; so it does with the source's own files" if too else ""
    return failed(
        f"mlx-vlm cannot show it {name!r}: {fault}{also}", _TEXT_ONLY if too else _FILES, broken=sorted(broken)
    )


def _answers(facts: SeenFacts) -> Says:
    return _faults(facts, PICTURES) or _answered(facts, asked_in(PICTURES))


def _answered(facts: SeenFacts, media: Sequence[Medium]) -> Says:
    """Judge answers; a fault of this variant alone comes before one that the source has, too."""
    own, theirs = _of(media, facts.made), _of(media, facts.source)
    bad = {name: words for name, shown in own.items() if (words := fault_of(shown.answer, facts.made.vocabulary))}
    also = {name: fault_of(shown.answer, facts.made.vocabulary) for name, shown in theirs.items()}
    if name := next((name for name in bad if not also.get(name)), ""):
        return failed(f"about {name!r} {bad[name]}", "Use more bits, or check the prompt in smoke.json.", medium=name)
    named = [medium for medium in media if medium.name in own]
    right = {medium.name for medium in named if medium.answered(own[medium.name].answer.answer)}
    asked = [medium for medium in named if medium.name in theirs]
    source = {medium.name for medium in asked if medium.answered(theirs[medium.name].answer.answer)}
    count, missed = f"{len(right)} of {len(named)} are answered right", sorted(source - right)
    if len(source) > 1 and not source & right:
        return failed(
            f"none of the {len(source)} answers that are right unquantized is right",
            "Use more bits; compare the processor's files of source and output.",
            missed=missed,
        )
    if missed:
        quoted = own[missed[0]].answer.answer.strip()[:_QUOTED]
        words = f"{count}; unquantized {len(source)}, among them {missed[0]!r} (here: {quoted!r})"
        return warned(words, missed=missed)
    if told := _told(own, theirs, {name: f"{words}; unquantized, {also[name]}" for name, words in bad.items()}):
        return told
    if not right:
        return warned(f"{count}; the unquantized model behaves the same" if facts.source else count)
    return passed(f"{count}{', all that are unquantized among them' if facts.source else ''}")


def _of(media: Sequence[Medium], perceived: Perceived | None) -> dict[str, Shown]:
    shown = perceived.shown if perceived else {}
    return {medium.name: shown[medium.name] for medium in media if medium.name in shown}


def _told(own: Mapping[str, Shown], theirs: Mapping[str, Shown], bad: Mapping[str, str]) -> Says | None:
    """Warn of a special token that the source does not say, and of what is wrong with both answers."""
    for name, shown in own.items():
        if leaked := sorted({*shown.answer.leaked} - _leaked(theirs.get(name))):
            words = ", ".join(leaked)[:_QUOTED]
            return warned(f"about {name!r} it says {words}, which users must not see", medium=name)
    if name := next(iter(bad), ""):
        return warned(f"about {name!r} {bad[name]}", medium=name)
    return None


def _leaked(shown: Shown | None) -> set[str]:
    return set(shown.answer.leaked) if shown else set()


def _seen(facts: SeenFacts) -> Says:
    return _moves(facts, PICTURES, "picture")


def _moves(facts: SeenFacts, contrasts: Sequence[Contrast], what: str) -> Says:
    """Fail where what moves the source does not move the variant, or moves it the other way."""
    moves = facts.moves(contrasts)
    if not moves:
        return skipped(f"nothing could be compared: {next(iter(facts.made.faults.values()), 'no answer')}", told=True)
    details = {name: _numbers(move) for name, move in moves.items()}
    if facts.source is None:
        still = [name for name, move in moves.items() if move.made < _STILL]
        says = f"another {what} moves it by {_range(move.made for move in moves.values())} nats"
        if still:
            return warned(f"{says}; it ignores the difference of {', '.join(still)}", moves=details)
        return passed(f"{says}; the source was not asked", moves=details)
    looking = {name: move for name, move in moves.items() if move.source is not None and move.source >= _STILL}
    if not looking:
        return warned(f"another {what} moves neither it nor the source", moves=details)
    blind = [name for name, move in looking.items() if move.made < _IGNORES * (move.source or 0)]
    words = f"another {what} moves it by {_range(move.made for move in looking.values())} nats"
    words += f", the source by {_range(move.source or 0 for move in looking.values())}"
    if 2 * len(blind) >= len(looking):
        return failed(f"it ignores the {what} where the source looks: {words}", _TOWER, moves=details)
    return _likeness(facts, looking, f"{words}", blind, details)


def _likeness(
    facts: SeenFacts, looking: Mapping[str, Moved], words: str, blind: Sequence[str], details: Mapping[str, object]
) -> Says:
    alike = [move.alike or 0.0 for move in looking.values()]
    mean = sum(alike) / len(alike)
    words = f"{words}; likeness {mean:.2f}"
    if mean < _OPPOSITE or (not facts.quantized and mean < _OTHERWISE):
        return failed(f"it is moved otherwise than the source: {words}", _TOWER, moves=details)
    if blind:
        return warned(f"it ignores the difference of {', '.join(blind)}: {words}", moves=details)
    if mean < _OTHERWISE:
        return warned(f"it is moved otherwise than the source: {words}", "Use more bits.", moves=details)
    return passed(words, moves=details)


def _numbers(move: Moved) -> dict[str, float | None]:
    return {name: None if value is None else float(f"{value:.4g}") for name, value in vars(move).items()}


def _range(values: Iterator[float]) -> str:
    every = sorted(values)
    low, high = f"{every[0]:.2g}", f"{every[-1]:.2g}"
    return low if low == high else f"{low} to {high}"


def _heard(facts: SeenFacts) -> Says:
    """Judge sounds as pictures; where mlx-vlm takes none of the family, also of the source, they are not tested."""
    if reason := unheard(facts):
        return skipped(f"sounds are not tested: {reason}", told=True)
    for says in (_faults(facts, SOUNDS), _moves(facts, SOUNDS, "sound")):
        if says is not None and says.status == "fail":
            return says
    answers, moves = _answered(facts, asked_in(SOUNDS)), _moves(facts, SOUNDS, "sound")
    return answers if answers.status == "fail" or moves.status == "pass" else moves


def unheard(facts: SeenFacts) -> str:
    """Return why no sound could be tested: what mlx-vlm raises at the source's files, too; empty if one could."""
    names = {medium.name for medium in asked_in(SOUNDS)}
    if not facts.sounds or facts.source is None or names & set(facts.made.shown):
        return ""
    both = [facts.made.faults[name] for name in names if name in facts.made.faults and name in facts.source.faults]
    return both[0] if both else ""


SEEN: tuple[Check[SeenFacts], ...] = (
    Check(
        "picture-slots",
        "Prompts have the source's places for pictures and sounds",
        "a chat template or processor that drops what is shown",
        _slots,
    ),
    Check(
        "picture-answers",
        "Questions about pictures are answered as by the source",
        "a model that cannot be shown a picture, or misreads it",
        _answers,
        when=lambda facts: facts.pictures,
    ),
    Check(
        "picture-seen",
        "Pictures move the model as they move the source",
        "a model that ignores its pictures",
        _seen,
        when=lambda facts: facts.pictures,
    ),
    Check(
        "sound-heard",
        "Sounds move the model as they move the source",
        "a model that ignores its sounds",
        _heard,
        when=lambda facts: facts.sounds,
    ),
)
