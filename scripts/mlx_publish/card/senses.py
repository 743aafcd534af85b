"""A model that takes more than text, on its card: what it keeps, what it was shown, and how close it is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from mlx_publish.chat.media import asked_in
from mlx_publish.chat.pictures import PICTURES
from mlx_publish.chat.sounds import SOUNDS
from mlx_publish.converters import converter_of
from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.evidence import Evidence, TowerSpec
from mlx_publish.evidence.measurements import MediaSpec, MediumAnswerSpec, PicturesProofSpec, SpeedSpec
from mlx_publish.evidence.perceived import answers_of, example, senses_of
from mlx_publish.text import markdown
from mlx_publish.text.markdown import Markdown, escape
from mlx_publish.text.numbers import count, percent, significant, size

_LONGEST = 120  # characters of an answer in a table
_SHOWN = {"images": ("picture", "pictures"), "audio": ("sound", "sounds")}
_CONTRASTS = {"images": PICTURES, "audio": SOUNDS}


def senses(evidence: Evidence) -> tuple[str, ...]:
    """Return what the published model takes beside text, as `images`; nothing for a language model.

    Parts that were kept tell it, else what the smoke test knows of the source.
    """
    if not converter_of(evidence.tools).senses:
        return ()
    if towers := evidence.model.towers:
        return tuple(dict.fromkeys(tower.sense for tower in towers if tower.sense))
    media = evidence.smoke.pictures if evidence.smoke else None
    return senses_of(media) if media else ()


def in_words(kinds: Sequence[str]) -> str:
    """Return `text, images and audio`; `more than text` where nothing else is known."""
    return " and ".join((", ".join(kinds[:-1]), kinds[-1])) if kinds[1:] else "more than text"


def perceived(evidence: Evidence) -> Mapping[str, object] | None:
    """Return the words about a model that takes more than text; None for a language model."""
    if not converter_of(evidence.tools).senses:
        return None
    media, towers = evidence.smoke.pictures if evidence.smoke else None, evidence.model.towers or []
    shown = example(evidence.smoke)
    return {
        "takes": in_words(("text", *senses(evidence))),
        "shown": shown.plain if shown else None,
        "right": " ".join(_right(media)) if media else "",
        "answers": _answers(media) if media and media.answers else None,
        "moved": " ".join(_moved(media)) if media else "",
        "verdict": _verdict(evidence),
        "fidelity": " ".join(_fidelity(evidence)),
        "towers": _towers(towers) if towers else None,
        "speed": _speed(evidence.benchmark) if evidence.benchmark else "",
        "proof": _proof(evidence.proof.pictures) if evidence.proof and evidence.proof.pictures else "",
    }


def picture(evidence: Evidence) -> bytes | None:
    """Draw the picture that the card shows; None where it shows none, or where nobody here can draw it."""
    shown = example(evidence.smoke) if senses(evidence) else None
    drawn = {medium.name: medium for medium in asked_in(PICTURES)}
    return drawn[shown.name].file() if shown and shown.name in drawn else None


def picture_digest(evidence: Evidence) -> str | None:
    """Return the SHA-256 of that picture."""
    drawn = picture(evidence)
    return None if drawn is None else hashlib.sha256(drawn).hexdigest()


def _right(media: MediaSpec) -> Iterator[str]:
    """Yield how many answers are right, beside the source's."""
    for sense, (_, many) in _SHOWN.items():
        answers = answers_of(media, sense)
        if not answers:
            continue
        known = [answer for answer in answers if answer.source_right is not None]
        source = f"; the source: {sum(bool(answer.source_right) for answer in known)} of {len(known)}" if known else ""
        right = sum(answer.right for answer in answers)
        yield f"{right} of {len(answers)} questions about {many} are answered right{source}."


def _answers(media: MediaSpec) -> Markdown:
    """Return a table of what was shown with both answers."""
    asked_source = any(answer.source_answer is not None for answer in media.answers)
    head = ("Shown", "Question", "Answer", *(["Source"] if asked_source else []))
    return markdown.table(head, [_row(answer, asked_source=asked_source) for answer in media.answers])


def _row(answer: MediumAnswerSpec, *, asked_source: bool) -> list[str]:
    source = [_marked(answer.source_answer, right=answer.source_right)] if asked_source else []
    return [answer.shows, answer.question, _marked(answer.answer, right=answer.right), *source]


def _marked(answer: str | None, *, right: bool | None) -> str:
    if answer is None:
        return "-"
    line = " ".join(answer.split())
    short = line if len(line) <= _LONGEST else f"{line[:_LONGEST].rstrip()}…"
    return f"{short or 'nothing'}{'' if right is None else ' (right)' if right else ' (wrong)'}"


def _moved(media: MediaSpec) -> Iterator[str]:
    """Yield how far another picture, or sound, under the same question moves an answer, beside the source."""
    for sense, (one, _) in _SHOWN.items():
        moves = [media.moved[contrast.name] for contrast in _CONTRASTS[sense] if contrast.name in media.moved]
        if not moves:
            continue
        source = [move.source for move in moves if move.source is not None]
        alike = [move.alike for move in moves if move.alike is not None]
        beside = f", in the source by {_range(source)}" if source else ""
        how = f" (cosine of both changes: at least {min(alike):.2f})" if alike else ""
        yield (
            f"Another {one} under the same question changes the answer's log-probabilities by "
            f"{_range([move.made for move in moves])} nats{beside}{how}."
        )


def _range(numbers: Sequence[float]) -> str:
    low, high = significant(min(numbers)), significant(max(numbers))
    return low if low == high else f"{low} to {high}"


def _verdict(evidence: Evidence) -> Markdown | None:
    """Return the line of the card's head about text behind pictures."""
    seen = evidence.fidelity.pictures if evidence.fidelity else None
    if seen is None:
        return None
    step = closeness(seen.mean_kld)
    sign = "⚠ Warning: " if step.warns else ""
    return Markdown(f"{sign}With pictures: **{step.word}** (mean KLD {significant(seen.mean_kld)}).")


def _fidelity(evidence: Evidence) -> Iterator[str]:
    """Yield the comparison behind pictures, or why there is none."""
    fidelity = evidence.fidelity
    seen = fidelity.pictures if fidelity else None
    if fidelity is not None and seen is None:
        yield f"Closeness behind pictures was not measured{_why(fidelity.pictures_not_measured)}."
    if seen is None:
        return
    error = f" ± {significant(seen.mean_kld_error, 2)}" if seen.mean_kld_error else ""
    yield (
        f"On {seen.positions:,} tokens of text behind {seen.pictures} pictures, mean KLD is "
        f"{significant(seen.mean_kld)}{error} (median {significant(seen.median_kld)}, 99th percentile "
        f"{significant(seen.p99_kld)}), top-1 agreement {percent(seen.same_first_choice)}."
    )
    effect = seen.effect
    if effect and effect.source is not None and effect.model is not None:
        share = "" if effect.share is None else f"; {percent(effect.share)} of the source's change is in this model's"
        yield (
            f"Another picture in front of the same text changes the next token by {significant(effect.model)} nats, in "
            f"the source by {significant(effect.source)}{share}."
        )


def _why(reason: str) -> str:
    return f": {escape(reason)}" if reason else ""


def _towers(towers: Sequence[TowerSpec]) -> Markdown:
    """Return the table of the parts that are no language model."""
    rows = [
        (tower.name, tower.sense, f"{tower.tensors:,}", count(tower.parameters), size(tower.bytes), _numbers(tower))
        for tower in towers
    ]
    heads = ("Part", "For", "Tensors", "Parameters", "Size", "Numbers")
    return markdown.table(heads, rows, right=heads[2:5])


def _numbers(tower: TowerSpec) -> str:
    types = ", ".join(tower.dtypes)
    return f"{tower.bits} bits ({types})" if tower.bits else f"{types}, not quantized"


def _speed(benchmark: SpeedSpec) -> str:
    """Return the time to the first token with a picture, beside as many tokens of text; or why there is none."""
    speed = benchmark.picture
    if speed is None:
        return f"A prompt with a picture was not timed{_why(benchmark.picture_not_measured)}."
    seen, text, encoded = speed.with_picture, speed.text_alone, speed.encode_s
    inside = f", of which {significant(encoded.median)} s for the picture" if encoded else ""
    return (
        f"A prompt with one picture of {speed.width} x {speed.height} pixels ({seen.prompt_tokens:,} tokens, "
        f"{speed.image_tokens:,} of them the picture's): first token after {significant(seen.first_token_s.median)} s"
        f"{inside}; as many tokens of text: {significant(text.first_token_s.median)} s. Peak memory "
        f"{size(seen.peak_memory_bytes)}."
    )


def _proof(proof: PicturesProofSpec) -> str:
    """Return whether the twin computes the same where pictures are shown to it."""
    if not proof.texts:
        return f"Its tower was not compared{_why(proof.not_proven)}."
    errors = [text.nmse for text in proof.texts if text.nmse is not None]
    if len(errors) < len(proof.texts):
        return "With pictures, the logits could not be compared."
    return f"With pictures in the prompt, the normalised squared error is {max(errors):.1e}."
