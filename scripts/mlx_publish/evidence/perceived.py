"""What evidence says of a model that sees or hears, for those who write about it."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_publish.evidence.measurements import MediaSpec, MediumAnswerSpec, SmokeSpec

_ENDINGS = {"images": ".png", "audio": ".wav"}
_SENSES = (*_ENDINGS, "video")


def example(smoke: SmokeSpec | None) -> MediumAnswerSpec | None:
    """Return what a card shows with its answer: the first picture that is answered right, else the first one."""
    pictures = answers_of(smoke.pictures, "images") if smoke and smoke.pictures else []
    return next((one for one in pictures if one.right), pictures[0] if pictures else None)


def answers_of(media: MediaSpec, sense: str) -> Sequence[MediumAnswerSpec]:
    """Return the answers about pictures (`images`) or sounds (`audio`)."""
    ending = _ENDINGS.get(sense)
    return [answer for answer in media.answers if ending and answer.file.endswith(ending)]


def senses_of(media: MediaSpec) -> tuple[str, ...]:
    """Return what a model takes beside text, tested or not: `images`, `audio`, `video`."""
    return tuple(sense for sense in _SENSES if sense in media.untested or answers_of(media, sense))
