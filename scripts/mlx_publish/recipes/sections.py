"""The sections of a recipe: failures let through, words for the card, and how a model is asked, compared and timed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mlx_publish.recipes import patterns
from mlx_publish.recipes.flags import Asked, Flag

if TYPE_CHECKING:
    from typing_extensions import Self

Fold = Literal["first-user", "own-turn"]
Engine = Literal["minijinja", "huggingface-jinja"]
Reference = Literal["none", "transformers"]
Length = Annotated[int, Field(ge=8, le=131072)]
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
CALIBRATION_FILES = (".txt", ".md", ".jsonl")
Lengths = Annotated[list[Length], BeforeValidator(lambda value: [value] if isinstance(value, int) else value)]


class Strict(BaseModel):
    """No unknown keys, no silent conversion, no change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Acceptance(Strict):
    """A failed check to accept, with the reason that the card prints."""

    check: str = Field(min_length=1)
    """Id of the check ([list](checks.md))."""
    reason: str = Field(min_length=8)
    """Why the model is published anyway; printed on the card."""


class CardWords(Strict):
    """Your own text on the card."""

    notes: Annotated[
        str,
        Flag("MARKDOWN", "Your own text for the card", input="Your own text for the card, in Markdown"),
        Asked(
            "Text for the card, in Markdown. Only with source.",
            form="For a source: your own text for the card, in Markdown",
            pattern=patterns.ASKED_TEXT,
            max_length=20000,
        ),
    ] = ""
    """Markdown for a separate section."""


class SmokeTest(Strict):
    """How the chat template and the answers of the converted model are tested."""

    system: str = "You are a friendly and informative chatbot."
    """System prompt; folded into the first user message if the template has no system role."""
    prompt: str = "There's a total solar eclipse tomorrow. Tell me a fun fact about such events."
    """User message."""
    max_tokens: int = Field(96, ge=1, le=4096)
    """Maximum length of the answer in tokens."""
    fold: Fold = "first-user"
    """Where to put the system prompt if the template has no system role: `first-user` prepends it to the first user
    message, `own-turn` makes it a separate user message, for templates that allow two in a row."""
    thinking: bool = False
    """Let models that have a thinking switch think before they answer."""
    engines: list[Engine] = Field(default=[])
    """Other template engines to compare with, if installed."""


class FidelityTest(Strict):
    """How much text to compare on, and when a variant is too far from its source to be published."""

    tokens: int = Field(2048, ge=32, le=65536)
    """Maximum number of tokens. The text in the package has 45 documents with about 9,000 tokens; a passage is the
    beginning of one, at most 256 tokens. At least 16 documents are read, if each can have 32 tokens."""
    max_mean_kld: float = Field(1.0, gt=0)
    """Maximum mean KL divergence from the source, in nats. The default refuses broken variants, not lossy ones."""
    min_same_first_choice: float = Field(0.4, ge=0, le=1)
    """Minimum top-1 agreement: the share of positions at which both models rank the same token first."""
    max_perplexity_ratio: float = Field(3.0, gt=0)
    """Maximum perplexity, as a multiple of the source's."""
    reference: Reference = "none"
    """`transformers` also compares the unquantized model with transformers on PyTorch, if that is installed."""
    raw: bool = False
    """Keep the [values of every position](card.md#values-of-every-position) in `fidelity-positions.npz`, in the work
    folder of the variant. Planned and learned variants always have it."""


def _is_local(value: object) -> object:
    """Refuse what looks as if it had to be fetched."""
    if not isinstance(value, str):
        return value
    if _CONTROL.search(value):
        raise PydanticCustomError("calibration", "contains a control character")
    if "://" in value or value.startswith(("www.", "hf:")):
        reason = "is an address, but no method reads from the network; download the text and name the file"
        raise PydanticCustomError("calibration", "{reason}", {"reason": reason})
    if not value.lower().endswith(CALIBRATION_FILES):
        listed = f"{', '.join(CALIBRATION_FILES[:-1])} or {CALIBRATION_FILES[-1]}"
        reason = f"must be a local file that ends in {listed}"
        if re.fullmatch(patterns.REPO, value):
            reason += "; data sets of the Hub are not downloaded, because no method reads from the network"
        raise PydanticCustomError("calibration", "{reason}", {"reason": reason})
    return value


class Amount(NamedTuple):
    """How much text a method reads."""

    samples: int
    length: int
    """Tokens of a sample."""


# Within the package's text, which has some 300 samples of 128 tokens. Plans compare many roundings of each module, so
# they read less; dwq takes a step for each few samples.
_AMOUNTS = {"plan": Amount(64, 128), "awq": Amount(64, 256), "gptq": Amount(96, 256), "dwq": Amount(224, 128)}


class CalibrationText(Strict):
    """The text that planned and learned variants read. It is never the text that they are compared on."""

    file: Annotated[str | None, BeforeValidator(_is_local)] = Field(None, min_length=1, max_length=1000)
    """Local text file, relative to the recipe: `.txt`, `.md`, or `.jsonl` with `text` or `messages` in each line; at
    most 10 MB. What it shares with the text of the comparison is left out. Default: the package's text, about 140 kB of
    prose, code, dialogues and other languages."""
    samples: int | None = Field(None, ge=1, le=4096)
    """Maximum number of samples. Default: 64 for plans and `awq`, 96 for `gptq`, 224 for `dwq`."""
    length: int | None = Field(None, ge=32, le=4096)
    """Tokens per sample. Default: 128 for plans and `dwq`, 256 for `awq` and `gptq`."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed for drawing the samples."""

    def amount(self, method: str) -> Amount:
        """Return how much a method reads, with its defaults filled in."""
        usual = _AMOUNTS.get(method, _AMOUNTS["plan"])
        return Amount(self.samples or usual.samples, self.length or usual.length)


class SpeedTest(Strict):
    """What to measure, and how steady a speed must be to be published."""

    prompt_tokens: Lengths = Field(default=[128, 512, 2048], min_length=1, max_length=8)
    """Prompt length or list of lengths. Default: 128, 512, 2048. Lengths beyond the context or the time are skipped."""
    generation_tokens: int = Field(128, ge=4, le=8192)
    """Number of tokens to generate; EOS is ignored."""
    trials: int = Field(5, ge=2, le=100)
    """Maximum runs per length, counted from the first two successive runs that agree within 5 %. Fewer, but at least 3,
    if more could not change the printed medians."""
    seconds: int = Field(180, ge=5, le=86400)
    """Time budget per variant. Lengths and trials are reduced to fit; the report says so."""
    max_spread: float = Field(0.15, gt=0, le=1)
    """Maximum difference between the fastest and the slowest trial, as a share of the median."""
    max_drift: float = Field(0.05, gt=0, le=1)
    """Maximum drop from the first to the last trial, as a share of the first."""


_KEEP = "keep"


class _Kept(Strict):
    """A part of the source that is kept beside what a variant's bits are about."""

    keeps: ClassVar[str]
    """Who keeps the source's numbers, in words."""

    @property
    def group(self) -> int:
        """The group size with its default filled in."""
        return getattr(self, "group_size", None) or 64

    @model_validator(mode="after")
    def _group_is_of_bits(self) -> Self:
        if getattr(self, "group_size", None) and not getattr(self, "bits", None):
            reason = f"needs bits; without bits {self.keeps} the source's numbers"
            raise PydanticCustomError("kept", "group_size {reason}", {"reason": reason})
        return self


class MultiTokenHeads(_Kept):
    """How the source's multi-token heads are kept, as a drafter beside the model."""

    bits: Literal[2, 3, 4, 5, 6, 8] | None = None
    """Bits of the drafter's matrices. Default: the source's own numbers, byte by byte."""
    group_size: Literal[32, 64, 128] | None = None
    """Weights that share a scale. Default: 64."""

    keeps: ClassVar[str] = "the drafter keeps"


class KeptTowers(_Kept):
    """How what sees or hears is kept: the towers, and what joins them to the language model."""

    bits: Literal[2, 3, 4, 5, 6, 8] | None = None
    """Bits of their linear layers. Default: the source's own numbers, unquantized."""
    group_size: Literal[32, 64, 128] | None = None
    """Weights that share a scale. Default: 64."""

    keeps: ClassVar[str] = "they keep"


def _kept(whole: Any, instead: str) -> BeforeValidator:
    """Return what reads `keep`, or `8bit`, where a mapping may stand; `instead` is what to do to keep nothing."""

    def read(value: object) -> object:
        if value is None or isinstance(value, (dict, _Kept)):
            return value
        if value == _KEEP:
            return {}
        if isinstance(value, str) and (found := re.fullmatch(r"([234568])bit", value)):
            return {"bits": int(found[1])}
        reason = f"must be {_KEEP}, a width such as 8bit, or a mapping with bits and group_size"
        raise PydanticCustomError("kept", "{reason}", {"reason": reason, "write": _meant(value, instead)})

    return BeforeValidator(read, json_schema_input_type=whole | str)


def _meant(value: object, instead: str) -> str:
    """Return what to do instead; empty where nothing is near."""
    word = str(value).lower()
    if word in ("yes", "true", "on", "all", "1"):
        return f"Write {_KEEP}."
    if word in ("no", "false", "off", "none", "drop", "0"):
        return instead
    if found := re.fullmatch(r"(?:int|q|mtp-?)?([234568])(?:[-_ ]?bits?)?", word):
        return f"Write {found[1]}bit."
    return ""


KeptHeads = Annotated[
    MultiTokenHeads, _kept(MultiTokenHeads, "Remove the key: without it, multi-token heads are left out.")
]
TowersKept = Annotated[KeptTowers, _kept(KeptTowers, "To publish the language model alone, set modality: text.")]
