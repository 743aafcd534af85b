"""The sections of a recipe: failures let through, words for the card, and how a model is asked, compared and timed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mlx_publish.recipes import patterns
from mlx_publish.recipes.flags import Asked, Flag

Fold = Literal["first-user", "own-turn"]
Engine = Literal["minijinja", "huggingface-jinja"]
Reference = Literal["none", "transformers"]
Length = Annotated[int, Field(ge=8, le=131072)]
Lengths = Annotated[list[Length], BeforeValidator(lambda value: [value] if isinstance(value, int) else value)]


class Strict(BaseModel):
    """No unknown keys, no silent conversion, no change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Acceptance(Strict):
    """A failed check that is let through, with the reason that the card prints."""

    check: str = Field(min_length=1)
    """Its id, as docs/checks.md lists them."""
    reason: str = Field(min_length=8)
    """Why it may be published all the same."""


class CardWords(Strict):
    """A person's own words for the card."""

    notes: Annotated[
        str,
        Flag("MARKDOWN", "Your own words for the card", input="Your own words for the card, in Markdown"),
        Asked(
            "Words for the card, in Markdown; only with source.",
            form="For a source, your own words for the card, in Markdown",
            pattern=patterns.ASKED_TEXT,
            max_length=20000,
        ),
    ] = ""
    """Markdown; stands on the card as a section of its own."""


class SmokeTest(Strict):
    """What the converted model is asked."""

    system: str = "You are a friendly and informative chatbot."
    """The system text; it is folded into the first user turn where the template has no system role."""
    prompt: str = "There's a total solar eclipse tomorrow. Tell me a fun fact about such events."
    """The user's question."""
    max_tokens: int = Field(96, ge=1, le=4096)
    """Where the answer is cut."""
    fold: Fold = "first-user"
    """Where the system text goes when the template takes none: `first-user`, in front of the first user text, or
    `own-turn`, a user turn of its own, for templates that allow two in a row."""
    thinking: bool = False
    """Whether models with a switch for it think before they answer."""
    engines: list[Engine] = Field(default=[])
    """Other template engines to compare with, where they are installed."""


class FidelityTest(Strict):
    """How much text the comparison with the source reads, and when a variant is too far from it to be published."""

    tokens: int = Field(1024, ge=32, le=65536)
    """At most so many tokens; the text that comes with the package has some 4,000."""
    max_mean_kld: float = Field(1.0, gt=0)
    """Highest mean KL divergence to the source, in nats. The default refuses what is broken, not what is lossy."""
    min_same_first_choice: float = Field(0.4, ge=0, le=1)
    """Lowest share of positions at which both prefer the same token."""
    max_perplexity_ratio: float = Field(3.0, gt=0)
    """Highest perplexity as a multiple of the source's."""
    reference: Reference = "none"
    """`transformers` proves the architecture too: the unquantized model against PyTorch, where that is installed."""


class SpeedTest(Strict):
    """What the benchmark measures, and how steady a speed must be to be printed."""

    prompt_tokens: Lengths = Field(default=[128, 512, 2048], min_length=1, max_length=8)
    """Lengths of the prompt, or one of them. Those that do not fit the model's context or the time are left out."""
    generation_tokens: int = Field(128, ge=4, le=8192)
    """Length of the generation; stopping is switched off."""
    trials: int = Field(5, ge=2, le=100)
    """Runs of each length after those that warm up."""
    seconds: int = Field(180, ge=5, le=86400)
    """Time for each variant; lengths and trials shrink to fit it, and the report says so."""
    max_spread: float = Field(0.15, gt=0, le=1)
    """Highest distance of the slowest from the fastest trial, as a share of the median."""
    max_drift: float = Field(0.05, gt=0, le=1)
    """Highest fall from the first to the last trial, as a share of the first."""
