"""What evidence has to look like, whoever wrote it: the file that travels with a card and with the weights.

Top keys are all known; within a measurement there may be more than a card needs, which is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from jinja2.exceptions import TemplateError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlx_publish.errors import Fault
from mlx_publish.recipes.recipe import MOST_VARIANTS, RepoId, Strict

LACKING = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TemplateError, TypeError, ValueError,
)  # fmt: skip
"""What evidence raises that lacks something within a measurement, or holds something else, when it is made use of."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identity = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# A text of megabytes would otherwise be told of item by item.
_SOME = Field(max_length=1000)
Texts = Annotated[dict[str, str], _SOME]
Status = Literal["pass", "fixed", "warn", "fail", "skip"]


class Open(BaseModel):
    """Known keys are judged, others are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class File(Strict):
    """A file of the published folder."""

    path: str = Field(min_length=1)
    size: Count
    sha256: Sha256


class DestinationSpec(Strict):
    """Where it goes: `repo` is null for a folder."""

    name: str
    repo: RepoId | None


class SourceSpec(Open):
    """What was converted: a repo at a commit, or a folder by the digest of its files."""

    name: str
    repo: RepoId | None
    identity: Identity
    base_model: RepoId | None
    pipeline_tag: str | None


class VariantSpec(Strict):
    """The form that was made."""

    label: str
    quantized: bool
    bits: int | None
    group_size: int | None
    mode: str | None
    mixed: str | None
    dtype: str | None


class LicenceSpec(Strict):
    """The licence that the card names."""

    id: str | None
    name: str | None
    link: str | None


class ModelSpec(Open):
    """The converted files; `model` is the digest of their list, `kept_wider` what the MLX class does not narrow."""

    model: Sha256
    files: list[File] = Field(min_length=1, max_length=20_000)
    weight_bytes: Count
    parameters: Count
    bits_per_weight: Positive
    kept_wider: str = ""


class TextProof(Open):
    """The comparison on one text of the twin; null where there is no number."""

    nmse: Positive | None
    mean_kld: float | None
    same_first_choice: Share | None


class ProofSpec(Open):
    """The twin: a small random model of the source's config in mlx-lm beside another implementation."""

    against: str
    versions: Texts
    mlx_lm: Texts
    texts: list[TextProof] = Field(min_length=1, max_length=1000)


class Kind(Open):
    """The comparison on one kind of text, or on all of it."""

    positions: Annotated[int, Field(ge=1)]
    mean_kld: Positive
    same_first_choice: Share
    perplexity_ratio: Positive


class FidelitySpec(Kind):
    """The comparison with the source: KL divergence in nats, perplexities, shares; errors are standard errors."""

    mean_kld_error: Positive
    median_kld: Positive
    p99_kld: Positive
    max_kld: Positive
    same_first_choice_error: Positive
    perplexity: Positive
    perplexity_source: Positive
    perplexity_ratio_error: Positive
    by_kind: Annotated[dict[str, Kind], _SOME]
    against: dict[str, Any]
    reference: dict[str, Any] | None


class Rate(Open):
    """Median with lowest and highest."""

    median: Positive
    lowest: Positive
    highest: Positive


class LengthSpec(Open):
    """Speed at one length of the prompt: tokens per second, seconds, bytes."""

    prompt_tokens: Count
    generation_tokens: Count
    prompt_tps: Rate
    generation_tps: Rate
    first_token_s: Rate
    peak_memory_bytes: Count
    trials: list[dict[str, Any]] = Field(min_length=1, max_length=1000)


class SpeedSpec(Open):
    """The benchmark, and the machine that it ran on."""

    device: Literal["cpu", "gpu"]
    lengths: list[LengthSpec] = Field(min_length=1, max_length=100)
    left_out: Annotated[list[dict[str, Any]], _SOME]
    machine: dict[str, Any]


class CapabilitiesSpec(Open):
    """What the chat template can do; evidence of earlier versions lacks those with a default."""

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
    switches: Annotated[dict[str, Annotated[list[bool | int | float | str], _SOME]], _SOME] = {}


class SmokeSpec(Open):
    """The chat template, the question and the answer."""

    chat_template: bool
    capabilities: CapabilitiesSpec | None = None
    system: str
    options: dict[str, Any]
    exchange: dict[str, Any]
    asked: Texts


class Rung(Strict):
    """One variant of the recipe; null is what was not measured."""

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


class Judged(Strict):
    """What one check said; `accepted` is the reason for which a failure was let through."""

    stage: str
    id: str
    status: Status
    message: str
    accepted: str | None


class EvidenceSpec(Strict):
    """What the reports add up to for one variant; `untested` is the recipe's reason to publish it without a test."""

    schema_: Literal["mlx-publish/evidence/1"] = Field(alias="schema")
    generator: str
    recipe: str = Field(min_length=1)
    destination: DestinationSpec
    templates: Annotated[dict[str, Sha256], _SOME]
    source: SourceSpec
    variant: VariantSpec
    licence: LicenceSpec
    language: Annotated[list[str], _SOME]
    config: dict[str, Any]
    proof: ProofSpec | None = None
    words: dict[str, Any]
    model: ModelSpec
    tools: Texts
    smoke: SmokeSpec | None
    fidelity: FidelitySpec | None
    benchmark: SpeedSpec | None
    ladder: Annotated[list[Rung], Field(max_length=MOST_VARIANTS)]
    missing: Texts
    untested: str | None = None
    checks: Annotated[list[Judged], _SOME]


def faults(data: object) -> Iterator[Fault]:
    """Yield all that is wrong with evidence, by its key as `model.files[0].size`; nothing where it is whole."""
    try:
        EvidenceSpec.model_validate(data)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_context=False):
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"]).lstrip(".")
            yield Fault(f"{details['msg'][0].lower()}{details['msg'][1:]}", key=path)
