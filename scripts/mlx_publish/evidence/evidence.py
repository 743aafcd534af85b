"""Evidence: the file that travels with a card and with the weights, whoever wrote it.

Top keys are all known; within a measurement there may be more than a card needs, which is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from mlx_publish.errors import Fault
from mlx_publish.evidence.devices import DeviceKind, kind_of
from mlx_publish.evidence.digests import SCHEMA
from mlx_publish.evidence.drafters import DrafterSpec
from mlx_publish.evidence.measurements import (
    ANY,
    SOME,
    Count,
    FidelitySpec,
    Open,
    Positive,
    ProofSpec,
    Record,
    Share,
    SmokeSpec,
    SpeedSpec,
    Texts,
)
from mlx_publish.evidence.quantized import QuantizationSpec
from mlx_publish.recipes.recipe import MOST_VARIANTS, RepoId, Strict
from mlx_publish.text.bounds import EVIDENCE
from mlx_publish.text.json_text import FaultyJson, parse, read_within

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identity = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Option = str | int | float | bool
Status = Literal["pass", "fixed", "warn", "fail", "skip"]
LACKING = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What evidence raises that lacks something within a measurement, when it is made use of."""


class NotEvidence(ValueError):
    """What was read is no evidence that this version knows.

    `message` and `line` are of what is no JSON object, `schema` what it names where that is another one, `faults` all
    that is wrong with it, by its keys.
    """

    def __init__(
        self, message: str = "", line: int = 0, *, schema: object = SCHEMA, faults: tuple[Fault, ...] = ()
    ) -> None:
        super().__init__(message or "; ".join(map(str, faults)))
        self.message, self.line, self.schema, self.faults = message, line, schema, faults


class NoObject(NotEvidence):
    """What was read is JSON, and no object."""

    def __init__(self) -> None:
        super().__init__("is not a JSON object", 1, schema=None)


class File(Strict):
    """A file of the published folder."""

    path: str = Field(min_length=1)
    size: Count
    sha256: Sha256


class DestinationSpec(Record):
    """The destination; `repo` is null for a folder."""

    name: str
    repo: RepoId | None


class HeldSpec(Open):
    """How a source holds its weights where they are quantized; `bits` are those of most of them."""

    method: str = Field(min_length=1, max_length=200)
    bits: Positive
    weights: Count
    dtype: str


class ReadFromSpec(Open):
    """What became of the weights of a quantized source: how many were repacked, and how far that moved them."""

    repacked: Count
    quantized: Count
    apart: Count
    compared: Count
    rounded: Count
    off: Positive


class SourceSpec(Open):
    """The source: a repo at a commit, or a folder with the digest of its files."""

    name: str
    repo: RepoId | None
    identity: Identity
    base_model: RepoId | None
    pipeline_tag: str | None
    modality: SkipJsonSchema[str | None] = None
    held: HeldSpec | None = None

    def is_of(self, evidence: object) -> bool:
        """Return whether evidence that lies somewhere is of this source, at whatever revision, by whatever version."""
        theirs = evidence.get("source") if isinstance(evidence, Mapping) else None
        keys = ("name", "repo", "base_model")
        return isinstance(theirs, Mapping) and all(theirs.get(key) == getattr(self, key) for key in keys)


class AdapterSpec(Record):
    """The adapter that was fused into the source: a repo at a commit, or a folder with the digest of its files."""

    name: str
    repo: RepoId | None
    identity: Identity
    kind: Literal["lora", "dora", "full"]
    maker: Literal["peft", "mlx-lm"]
    rank: Count | None
    tensors: Count
    licence: str | None


class VariantSpec(Record):
    """The form of the variant."""

    label: str
    quantized: bool
    bits: int | None
    group_size: int | None
    mode: str | None
    mixed: str | None
    dtype: str | None
    options: dict[str, Option | dict[str, Option]] = Field(default_factory=dict, max_length=32)
    """Keys of a method that chooses or learns, as the recipe has them."""


class LicenceSpec(Record):
    """The licence that the card names."""

    id: str | None
    name: str | None
    link: str | None


class MadeOnSpec(Open):
    """What computed the bytes: MLX's device, backend and version, on which processor and system."""

    device: Literal["cpu", "gpu"]
    backend: str
    architecture: str
    system: str
    mlx: str


class TowerSpec(Open):
    """A part that is no language model: an encoder, or what joins it to the language model."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    sense: Annotated[str, Field(max_length=40)]
    role: Annotated[str, Field(max_length=40)]
    tensors: Count
    parameters: Count
    bytes: Count
    dtypes: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=20)]
    bits: Count | None = None
    group_size: Count | None = None


class ModelSpec(Open):
    """The converted files; `model` is the digest of their list, `kept_wider` what the MLX class keeps wider.

    `streamed` is true where the source came straight from the Hub, one weight file at a time, and left out elsewhere.
    """

    model: Sha256
    files: list[File] = Field(min_length=1, max_length=20_000)
    weight_bytes: Count
    parameters: Count
    bits_per_weight: Positive
    kept_wider: str = ""
    made_on: MadeOnSpec | None = None
    read_from: ReadFromSpec | None = None
    streamed: bool | None = None
    towers: list[TowerSpec] | None = Field(default=None, max_length=100)

    @property
    def towers_quantized(self) -> tuple[int, int] | None:
        """Bits and group size of linear layers of towers; None where all have the source's numbers."""
        packed = next((tower for tower in self.towers or () if tower.bits), None)
        return (packed.bits, packed.group_size or 64) if packed and packed.bits else None


class Rung(Record):
    """One variant of the recipe; values that were not measured are null."""

    label: str
    repo: RepoId | None
    weight_bytes: Count
    bits_per_weight: Positive
    memory_bytes: Count | None
    memory_tokens: Count | None
    mean_kld: Positive | None
    mean_kld_error: Positive | None
    same_first_choice: Share | None
    against: str | None
    generation_tps: Positive | None
    prompt_tokens: Count | None
    device: Literal["cpu", "gpu"] | None
    chip: str | None
    memory_8k_bytes: Count | None = None
    """Weights and cache at 8,192 tokens; null where the context is shorter or the cache is of an unknown kind."""
    backend: Literal["cuda"] | None = None
    """Left out but for a speed on an NVIDIA GPU, which is the `chip` then."""

    @property
    def kind(self) -> DeviceKind | None:
        """The mark of the device beside the speed."""
        return kind_of(self.device, self.backend) if self.device else None


class Sampling(Record):
    """What generation_config.json of the source recommends; each key may be missing."""

    temperature: Positive | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    min_p: Share | None = None
    repetition_penalty: Positive | None = None


class KitSpec(Record):
    """The kit that made it, by its web address; `generator` is its version."""

    address: str = Field(pattern=r"^https://[A-Za-z0-9.:-]+/[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$", max_length=200)


class Judged(Record):
    """The result of one check; `accepted` is the recipe's reason to accept a failure."""

    stage: str
    id: str
    status: Status
    message: str
    accepted: str | None


class Config(Open):
    """What the source's config.json says, read at a glance; `context` in tokens."""

    context: int | float | None


class Words(Open):
    """The recipe's words for the card."""

    notes: str


class Evidence(Record):
    """The evidence of one variant, from its reports; `untested` is the recipe's reason to publish without a test."""

    model_config = ConfigDict(title="EvidenceSpec")

    schema_: Literal["mlx-publish/evidence/1"] = Field(alias="schema")
    generator: str
    recipe: str = Field(min_length=1)
    destination: DestinationSpec
    templates: Annotated[dict[str, Sha256], SOME]
    source: SourceSpec
    adapter: AdapterSpec | None = None
    variant: VariantSpec
    licence: LicenceSpec
    language: Annotated[list[str], SOME]
    config: Annotated[Config, ANY] = Field(title="Config")
    proof: ProofSpec | None = None
    words: Annotated[Words, ANY] = Field(title="Words")
    model: ModelSpec
    quantization: QuantizationSpec | None = None
    drafter: DrafterSpec | None = None
    tools: Texts
    smoke: SmokeSpec | None
    fidelity: FidelitySpec | None
    benchmark: SpeedSpec | None
    ladder: Annotated[list[Rung], Field(max_length=MOST_VARIANTS)]
    missing: Texts
    sampling: Sampling | None = None
    kit: KitSpec | None = None
    untested: str | None = None
    checks: Annotated[list[Judged], SOME]

    @property
    def measured(self) -> Mapping[str, SmokeSpec | FidelitySpec | SpeedSpec | None]:
        """Measurements by the stage that makes them; None if it was not run, or not on these bytes."""
        return {"smoke": self.smoke, "fidelity": self.fidelity, "benchmark": self.benchmark}

    @property
    def perceives(self) -> frozenset[str]:
        """The checks that evidence of a model must have which was shown pictures or sounds.

        What mlx-vlm made takes more than text, so without any evidence lacks them all.
        """
        media = self.smoke.pictures if self.smoke else None
        seen = {"picture-answers", "picture-seen"} if self.smoke and self.sees else set[str]()
        if media is None:
            return frozenset({"picture-slots"} | seen if self.smoke and self.takes_more else seen)
        endings = {answer.file.rpartition(".")[2] for answer in media.answers}
        if "png" in endings:
            seen |= {"picture-answers", "picture-seen"}
        heard = {"sound-heard"} if "wav" in endings or "audio" in media.untested else set[str]()
        return frozenset({"picture-slots"} | seen | heard)

    @property
    def takes_more(self) -> bool:
        """Whether the converter keeps what takes more than text, whatever the evidence says of it."""
        return "mlx-vlm" in self.tools

    @property
    def sees(self) -> bool:
        """Whether there is a part for images; where the parts are not listed, what mlx-vlm made has one."""
        if not self.model.towers:
            return self.takes_more
        return any(tower.sense in ("images", "video") for tower in self.model.towers)

    @property
    def licence_of_adapter(self) -> str | None:
        """The licence that the card of a fused adapter states."""
        return self.adapter.licence if self.adapter else None

    @classmethod
    def of(cls, data: object) -> Evidence:
        """Make evidence of plain data, which it keeps. `NotEvidence` names all that is wrong."""
        schema = data.get("schema") if isinstance(data, Mapping) else None
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise NotEvidence(schema=schema, faults=tuple(_faults(error))) from None

    @classmethod
    def read(cls, source: Path | bytes) -> Evidence:
        """Read a file, or its bytes, within bounds. Raises `NotEvidence`, or OSError."""
        try:
            content = source if isinstance(source, bytes) else read_within(source, EVIDENCE.most_bytes)
            data = parse(content, EVIDENCE)
        except FaultyJson as error:
            raise NotEvidence(error.message, error.line) from error
        if not isinstance(data, dict):
            raise NoObject
        return cls.of(data)


def faults(data: object) -> Iterator[Fault]:
    """Yield all that is wrong with evidence, by its key as `model.files[0].size`; nothing if it is whole."""
    try:
        Evidence.model_validate(data)
    except ValidationError as error:
        yield from _faults(error)


def _faults(error: ValidationError) -> Iterator[Fault]:
    for entry in error.errors(include_url=False, include_context=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in entry["loc"]).lstrip(".")
        yield Fault(f"{entry['msg'][0].lower()}{entry['msg'][1:]}", key=path)
