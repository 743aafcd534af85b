"""What the engine measures of a model: its answers, and what was read of a source for the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
class Divergence:
    """How far two models are apart over all positions, in nats and shares; errors are standard errors."""

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
    by_kind: Mapping[str, KindDivergence] = field(default_factory=dict)
    tokens_sha256: str = ""
    computed_in: str = ""

    def short(self) -> KindDivergence:
        """Return what is kept of a kind of text."""
        return KindDivergence(self.positions, self.mean_kld, self.same_first_choice, self.perplexity_ratio)


@dataclass(frozen=True)
class Against:
    """What a variant is compared with: the `source`, or the `variant` that stands for one too large for a machine."""

    what: str
    label: str | None = field(default=None, metadata=LEFT_OUT)
    bits_per_weight: float | None = field(default=None, metadata=LEFT_OUT)
