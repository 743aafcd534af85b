"""How bits were chosen or learned, and what that gained: typed views of evidence's JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlx_publish.evidence.measurements import SOME, Count, Open, Positive

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CalibrationSpec(Open):
    """The text that the method read."""

    text: str
    sha256: _Digest
    samples: Count
    length: Count
    seed: int


class PlanGroupSpec(Open):
    """Modules of one kind; `least` and `most` are rungs as `3/64`."""

    kind: str
    modules: Count
    weights: Count
    bits_per_weight: Positive
    least: str
    most: str
    predicted_kld: Positive


class PlanSpec(Open):
    """The plan at a glance; `proxy` is the form that stood in for a source too large for the machine."""

    file: str = Field(min_length=1)
    sha256: _Digest
    target: str
    bits_per_weight: Positive
    rounding: str
    groups: Annotated[list[PlanGroupSpec], SOME]
    proxy: str | None = None
    need_bytes: Count | None = None


class QuantizationSpec(Open):
    """The method of a variant that reads text or follows a plan."""

    method: str = Field(min_length=1)
    deterministic: bool
    calibration: CalibrationSpec | None = None
    plan: PlanSpec | None = None
    settings: Annotated[dict[str, object], SOME] = Field(default_factory=dict)
