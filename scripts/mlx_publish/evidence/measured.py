"""What the engine measures of a model: its answers, and what was read of a source for the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mlx_publish.evidence.pictured import PictureDivergence, PicturesRead
from mlx_publish.evidence.records import LEFT_OUT

Messages = Sequence[Mapping[str, object]]
"""A dialogue, as chat templates take it."""


@dataclass(frozen=True)
class Question:
    """A question of the smoke test; without `messages`, for a model without a chat template, `prompt` is the text."""

    name: str
    messages: Messages | None
    max_tokens: int
    options: Mapping[str, object] = field(default_factory=dict)
    """Options of the chat template."""
    prompt: str = ""
    long_text: str = ""
    """A text whose first `long_tokens` tokens go in front of the last message, repeated until it is long enough."""
    long_tokens: int = 0
    rendered: str = ""
    """The prompt, where it was made already, and its ids."""
    ids: Sequence[int] | None = None


@dataclass(frozen=True)
class Answer:
    """A greedy answer."""

    rendered: str
    """The beginning of the prompt."""
    prompt_tokens: int
    answer: str
    tokens: Sequence[int]
    stop: str
    """`stop` on a stop id, `length` where the tokens were used up."""
    stop_id: int | None
    leaked: Sequence[str]
    """Special tokens before the end."""


@dataclass(frozen=True)
class Answers:
    """Answers by the name of their question, and what the tokenizer stops at."""

    computed_in: str
    stop_ids: Sequence[int]
    vocabulary: int
    answers: Mapping[str, Answer]
    warnings: Sequence[str] = ()
    """What libraries print while they load the model."""


@dataclass(frozen=True)
class SourceRead:
    """What was read of the source for the comparison; its logits lie in a store of files."""

    positions: int
    tokens_sha256: str
    limited: bool
    """Whether the store's limit made it fewer than were asked for."""
    computed_in: str
    pictures: PicturesRead | None = field(default=None, metadata=LEFT_OUT)
    """None where it was not asked to look at any."""


@dataclass(frozen=True)
class RenderedText:
    """A dialogue as a tokenizer renders it: text and ids, or the `error`."""

    text: str = ""
    ids: Sequence[int] = ()
    error: str | None = None


@dataclass(frozen=True)
class Dialogue:
    """A dialogue by the source's tokenizer and by what was made of it."""

    source: RenderedText
    made: RenderedText
    by_default: bool = False
    """Whether they differ only until the source is given the switch for thinking that mlx-lm gives by itself."""


@dataclass(frozen=True)
class DialogueOrder:
    """A dialogue that is to be rendered."""

    name: str
    messages: Messages
    tools: Messages | None
    options: Mapping[str, object]
    generation: bool
    """Whether an answer is asked for."""


@dataclass(frozen=True)
class ChatRendered:
    """The chat template through two doors: transformers on the source, mlx-lm on what was made of it."""

    thinks: bool
    """What mlx-lm gives as enable_thinking where the caller gives nothing."""
    rendered: Mapping[str, Dialogue]
    prompts: Mapping[str, tuple[str, Sequence[int]]]
    """Text and ids of the questions, by name."""
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class KindDivergence:
    """How far two models are apart on one kind of text; None is what is no number."""

    positions: int
    mean_kld: float | None
    """Mean Kullback-Leibler divergence from the source, in nats."""
    same_first_choice: float | None
    """Top-1 agreement: the share of positions at which both prefer the same token."""
    perplexity_ratio: float | None
    """The model's perplexity by the source's."""


@dataclass(frozen=True)
class PassageDivergence:
    """How far two models are apart on one passage of the text."""

    positions: int
    mean_kld: float | None


@dataclass(frozen=True)
class Divergence:
    """How far two models are apart over all positions, in nats and shares; errors are standard errors.

    Fields that earlier versions do not know are left out where they are None.
    """

    positions: int
    mean_kld: float | None
    mean_kld_error: float | None
    median_kld: float | None
    p99_kld: float | None
    max_kld: float | None
    same_first_choice: float | None
    same_first_choice_error: float | None
    perplexity_source: float | None
    perplexity: float | None
    perplexity_ratio: float | None
    perplexity_ratio_error: float | None
    p90_kld: float | None = field(default=None, metadata=LEFT_OUT)
    p999_kld: float | None = field(default=None, metadata=LEFT_OUT)
    mean_delta_p: float | None = field(default=None, metadata=LEFT_OUT)
    """Mean change in the probability of the token that comes next, as a share; below zero the model knows it less."""
    rms_delta_p: float | None = field(default=None, metadata=LEFT_OUT)
    """Root of the mean square of the same."""
    correlation: float | None = field(default=None, metadata=LEFT_OUT)
    """Pearson's, of both models' log-probabilities of the token that comes next; None where they do not vary."""
    passages: int | None = field(default=None, metadata=LEFT_OUT)
    """Documents of the text, each read from its own beginning."""
    errors_by: Literal["passage", "position"] | None = field(default=None, metadata=LEFT_OUT)
    """What errors take as independent: passages, or positions where there are too few passages; None: positions."""
    error_factor: float | None = field(default=None, metadata=LEFT_OUT)
    """A 95 % interval reaches so many standard errors to both sides."""
    by_kind: Mapping[str, KindDivergence] = field(default_factory=dict)
    by_passage: Sequence[PassageDivergence] | None = field(default=None, metadata=LEFT_OUT)
    """In the order of the text; None where errors are not by passage."""
    tokens_sha256: str = ""
    computed_in: str = ""
    pictures: PictureDivergence | None = field(default=None, metadata=LEFT_OUT)
    """On texts with a picture in front of them, which the figures above have none of."""
    pictures_fault: str | None = field(default=None, metadata=LEFT_OUT)
    """What a model raises on pictures that its source reads."""


@dataclass(frozen=True)
class Against:
    """What a variant is compared with: the `source`, or the `variant` that stands for one too large for a machine."""

    what: str
    label: str | None = field(default=None, metadata=LEFT_OUT)
    bits_per_weight: float | None = field(default=None, metadata=LEFT_OUT)
