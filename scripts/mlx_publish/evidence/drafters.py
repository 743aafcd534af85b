"""A drafter of multi-token heads, and what it gains: typed views of evidence's JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlx_publish.evidence.measurements import SOME, Count, Open, Positive, Texts

_Name = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]


class DifferenceSpec(Open):
    """The first token of an answer that is another one with the drafter, and its distance in nats."""

    prompt: Count
    position: Count
    gap: Positive


class DrafterProofSpec(Open):
    """Greedy answers of mlx-vlm with the drafter, beside those without it; `seconds` of all of them."""

    prompts: Count
    tokens: Count
    rounds: Count
    drafted: Count
    accepted: Count
    block_size: Count
    computed_in: str
    device: str
    differences: Annotated[list[DifferenceSpec], SOME]
    seconds: Positive
    plain_seconds: Positive
    versions: Texts


class DrafterSpec(Open):
    """What was made of the source's multi-token heads; `bits` is null where it has the source's numbers."""

    folder: _Name
    model_type: _Name
    block_size: Count
    bits: Count | None
    group_size: Count | None
    tensors: Count
    weight_bytes: Count
    parameters: Count
    proof: DrafterProofSpec | None = None
