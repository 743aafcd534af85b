"""Measurements as records: typed views of JSON that keep what they do not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from mlx_publish.evidence.devices import DeviceKind, kind_of, named

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# Otherwise a message would name each item of a text of megabytes.
SOME = Field(max_length=1000)
# In the JSON Schema what a measurement adds for itself is any object.
ANY = WithJsonSchema({"additionalProperties": True, "type": "object"})
Texts = Annotated[dict[str, str], SOME]
_HEADLINE = 512  # tokens


class Record(BaseModel):
    """Plain data with types: `plain` gives back what it was read from, key by key."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_plain(cls, data: Any, handler: ModelWrapValidatorHandler[Record]) -> Record:
        # A dump by fields would lose the order of keys, and write 0 as 0.0.
        record = handler(data)
        if isinstance(data, Mapping):
            # Not a private attribute: pydantic would prepare it in each of some two hundred records of a card.
            object.__setattr__(record, "__pydantic_private__", {"plain": data})
        return record

    @property
    def plain(self) -> Mapping[str, Any]:
        """The JSON it was read from."""
        plain: dict[str, Any] = (self.__pydantic_private__ or {})["plain"]
        return plain


class Open(Record):
    """Known keys are judged, others are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)


class TextProof(Open):
    """The comparison on one text of the twin; missing numbers are null."""

    nmse: Positive | None
    mean_kld: float | None
    same_first_choice: Share | None


class PicturesProofSpec(Open):
    """The twin with pictures in its prompt; `not_proven` is why none were shown to it."""

    texts: Annotated[list[TextProof], Field(max_length=1000)]
    not_proven: Annotated[str, Field(max_length=1000)] = ""


class ProofSpec(Open):
    """The twin: a small random model with the source's config, in mlx-lm and in another implementation."""

    against: str
    versions: Texts
    mlx_lm: Texts
    texts: list[TextProof] = Field(min_length=1, max_length=1000)
    pictures: PicturesProofSpec | None = None


class Kind(Open):
    """The comparison on one kind of text, or on all of it."""

    positions: Annotated[int, Field(ge=1)]
    mean_kld: Positive
    same_first_choice: Share
    perplexity_ratio: Positive


class Against(Open):
    """What the text was compared with: `source`, or `variant` with its label and its bits per weight."""

    what: str
    label: str = ""
    bits_per_weight: float = 0.0

    @model_validator(mode="after")
    def _names_variant(self) -> Against:
        if self.what == "variant" and not {"label", "bits_per_weight"} <= self.model_fields_set:
            raise PydanticCustomError("against", "names no variant")
        return self


class RoundingPointSpec(Open):
    """Plain rounding at one width, on the same text."""

    label: str
    weight_bytes: Count
    bits_per_weight: Positive
    mean_kld: Positive
    same_first_choice: Share


class GainSpec(Open):
    """The variant beside plain rounding at equal bytes; `difference` is below zero where it is better."""

    mean_kld: Positive
    rounding_kld: Positive
    difference: Annotated[float, Field(allow_inf_nan=False)]
    difference_error: Positive
    same_first_choice: Share
    rounding_same_first_choice: Share
    curve: Annotated[list[RoundingPointSpec], Field(min_length=1, max_length=64)]
    error_factor: Positive | None = None


class PassageKld(Open):
    """The comparison on one passage of the text."""

    positions: Annotated[int, Field(ge=1)]
    mean_kld: Positive


class EffectSpec(Open):
    """By how much a picture, beside another one, changes the next token in source and model, in nats."""

    source: Positive | None
    model: Positive | None
    share: Annotated[float, Field(allow_inf_nan=False)] | None = None
    correlation: Annotated[float, Field(ge=-1.00001, le=1.00001)] | None = None


class PictureFidelitySpec(Open):
    """The comparison with the source on text that stands behind pictures."""

    pictures: Annotated[int, Field(ge=1)]
    image_tokens: Count
    positions: Annotated[int, Field(ge=1)]
    mean_kld: Positive
    mean_kld_error: Positive
    median_kld: Positive
    p99_kld: Positive
    max_kld: Positive
    same_first_choice: Share
    effect: EffectSpec | None = None


class FidelitySpec(Kind):
    """The comparison with the source: KL divergence in nats, perplexities, shares; errors are standard errors.

    Evidence from earlier versions lacks what has a default.
    """

    mean_kld_error: Positive
    median_kld: Positive
    p99_kld: Positive
    max_kld: Positive
    same_first_choice_error: Positive
    perplexity: Positive
    perplexity_source: Positive
    perplexity_ratio_error: Positive
    by_kind: Annotated[dict[str, Kind], SOME]
    against: Annotated[Against, ANY] = Field(title="Against")
    reference: Annotated[Open, ANY] | None = Field(title="Reference")
    gain: GainSpec | None = None
    computed_in: SkipJsonSchema[str | None] = None
    p90_kld: Positive | None = None
    p999_kld: Positive | None = None
    mean_delta_p: Annotated[float, Field(ge=-1, le=1)] | None = None
    rms_delta_p: Share | None = None
    correlation: Annotated[float, Field(ge=-1.00001, le=1.00001)] | None = None
    passages: Annotated[int, Field(ge=1)] | None = None
    errors_by: Literal["passage", "position"] | None = None
    error_factor: Positive | None = None
    by_passage: Annotated[list[PassageKld], SOME] | None = None
    pictures: PictureFidelitySpec | None = None
    pictures_not_measured: Annotated[str, Field(max_length=1000)] = ""
    """Why there is no such comparison of a model that sees."""

    @property
    def noise(self) -> float | None:
        """Half the width of the mean KLD's 95 % interval; None for evidence from versions that have no intervals."""
        return None if self.error_factor is None else self.error_factor * self.mean_kld_error


class Rate(Open):
    """Median with lowest and highest."""

    median: Positive
    lowest: Positive
    highest: Positive


class LengthSpec(Open):
    """Speed at one prompt length, in tokens per second, seconds and bytes."""

    prompt_tokens: Count
    generation_tokens: Count
    prompt_tps: Rate
    generation_tps: Rate
    first_token_s: Rate
    peak_memory_bytes: Count
    trials: list[Annotated[Open, ANY]] = Field(min_length=1, max_length=1000)


class Memory(Open):
    """Weights and cache in bytes at so many tokens."""

    tokens: int
    bytes: int


class Machine(Open):
    """Where it ran."""

    chip: str


class PictureSpeedSpec(Open):
    """The speed of a prompt with one picture, beside one of as many tokens of text alone."""

    width: Count
    height: Count
    image_tokens: Count
    with_picture: LengthSpec
    text_alone: LengthSpec
    encode_s: Rate | None = None


class SpeedSpec(Open):
    """The benchmark and its machine."""

    device: Literal["cpu", "gpu"]
    lengths: list[LengthSpec] = Field(min_length=1, max_length=100)
    left_out: Annotated[list[Annotated[Open, ANY]], SOME]
    machine: Annotated[Machine, ANY] = Field(title="Machine")
    context: SkipJsonSchema[Memory | None] = None
    backend: Literal["metal", "cuda", "cpu"] | None = None
    gpu: str | None = None
    picture: PictureSpeedSpec | None = None
    picture_not_measured: Annotated[str, Field(max_length=1000)] = ""
    """Why a prompt with a picture of a model that sees was not timed."""

    @property
    def kind(self) -> DeviceKind:
        """The mark of the device beside a number."""
        return kind_of(self.device, self.backend)

    @property
    def named(self) -> str:
        """The device by its name, where that is an NVIDIA GPU."""
        return named(self.device, self.backend, self.gpu)

    @property
    def chip(self) -> str:
        """The chip that computed: an NVIDIA GPU, else the machine's."""
        return (self.gpu or "NVIDIA GPU") if self.kind == "CUDA" else self.machine.chip

    @property
    def headline(self) -> LengthSpec:
        """The length that stands where there is room for one."""
        return headline(self.lengths)


def headline(lengths: Sequence[LengthSpec]) -> LengthSpec:
    """Return the length that stands where there is room for one: that next to a prompt of 512 tokens."""
    return min(lengths, key=lambda length: abs(length.prompt_tokens - _HEADLINE))


class CapabilitiesSpec(Open):
    """Capabilities of the chat template. Evidence from earlier versions lacks those with a default."""

    system: str
    two_users: str
    assistant_first: str
    tools: str
    tool_calls: Texts
    tool_results: str
    thinking: str
    thinking_unset: str
    reasoning: Texts
    parts: str
    begin_token: str
    date: str
    generation_prompt: str
    turn_end: str
    system_later: str = ""
    developer: str = ""
    calls: Texts = {}
    tool_forms: Texts = {}
    system_parts: str = ""
    result_parts: str = ""
    switches: Annotated[dict[str, Annotated[list[bool | int | float | str], SOME]], SOME] = {}


class Message(Open):
    """A turn of a conversation."""

    role: str
    content: str


class Exchange(Open):
    """The question as it was rendered."""

    messages: list[Message]
    rendered: str


class Answer(Open):
    """The answer to one question of the smoke test."""

    prompt_tokens: int


class MediumAnswerSpec(Open):
    """A picture or sound with its question, the answer, and whether it is right."""

    name: Annotated[str, Field(max_length=40)]
    file: Annotated[str, Field(pattern=r"^[a-z-]{1,40}\.(png|wav)$")]
    shows: Annotated[str, Field(max_length=200)]
    question: Annotated[str, Field(max_length=200)]
    answer: Annotated[str, Field(max_length=2000)]
    right: bool
    prompt_tokens: Count
    places: Count | None = None
    source_answer: Annotated[str, Field(max_length=2000)] | None = None
    source_right: bool | None = None


class MovedSpec(Open):
    """How far another picture or sound moves log-probabilities, in nats, beside the source; `alike` is a cosine."""

    made: Positive
    source: Positive | None = None
    alike: Annotated[float, Field(ge=-1.00001, le=1.00001)] | None = None


class MediaSpec(Open):
    """What a model that sees or hears makes of drawn pictures and played sounds; `untested` has a reason each."""

    computed_in: str
    answers: Annotated[list[MediumAnswerSpec], Field(max_length=100)]
    moved: Annotated[dict[str, MovedSpec], SOME]
    picture_size: Count
    untested: Texts = {}
    most_tokens: Count | None = None


class SmokeSpec(Open):
    """The chat template, the question and the answer."""

    chat_template: bool
    capabilities: CapabilitiesSpec | None = None
    system: str
    options: dict[str, Any]
    exchange: Annotated[Exchange, ANY] = Field(title="Exchange")
    asked: Texts
    computed_in: SkipJsonSchema[str | None] = None
    answers: SkipJsonSchema[dict[str, Answer]] = {}
    pictures: MediaSpec | None = None

    @property
    def lists_tools(self) -> bool:
        """Whether the chat template lists tools."""
        return self.capabilities is not None and self.capabilities.tools == "listed"
