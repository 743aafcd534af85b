"""The few numbers of a variant that decide about it, from the reports of a run or from evidence of any version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_publish.evidence.closeness import Closeness, closeness
from mlx_publish.evidence.devices import named
from mlx_publish.evidence.measurements import LengthSpec, SpeedSpec, headline
from mlx_publish.evidence.report import Report
from mlx_publish.evidence.results import Converted, Fidelity


@dataclass(frozen=True)
class Figures:
    """What is compared of two variants, or of two versions of one; None is not measured."""

    model: str = ""
    """Digest of the files."""
    weight_bytes: int | None = None
    bits_per_weight: float | None = None
    mean_kld: float | None = None
    same_first_choice: float | None = None
    perplexity_ratio: float | None = None
    generation_tps: float | None = None
    device: str = ""
    """`GPU`, `CPU`, or the name of an NVIDIA GPU with `CUDA`, which made the speed."""
    pictures_kld: float | None = None
    """Mean KL divergence on text behind pictures; None for a model of text alone, too."""

    @classmethod
    def of_evidence(cls, evidence: Mapping[str, Any]) -> Figures:
        """Read evidence as plain data, of other versions too. Raises one of `LACKING` where it lacks a part."""
        model, compared, timed = evidence["model"], evidence.get("fidelity") or {}, evidence.get("benchmark") or {}
        lengths = [LengthSpec.model_validate(length) for length in timed.get("lengths") or ()]
        return cls(
            str(model["model"]),
            int(model["weight_bytes"]),
            _number(model["bits_per_weight"]),
            _number(compared.get("mean_kld")),
            _number(compared.get("same_first_choice")),
            _number(compared.get("perplexity_ratio")),
            headline(lengths).generation_tps.median if lengths else None,
            named(timed["device"], timed.get("backend"), timed.get("gpu"))
            if timed.get("device") in ("cpu", "gpu")
            else "",
            pictures_kld(compared),
        )

    @classmethod
    def of_reports(cls, reports: Sequence[Report]) -> Figures:
        """Read the reports of one variant, whichever there are; what was measured of a refused one counts too."""
        by_stage = {report.stage: report for report in reports}
        converted = by_stage["convert"].read(Converted) if "convert" in by_stage else None
        compared = by_stage["fidelity"].read(Fidelity) if "fidelity" in by_stage else None
        timed = by_stage.get("benchmark")
        speed = (
            SpeedSpec.model_validate(timed.result)
            if timed and timed.verdict == "pass" and not timed.not_measured
            else None
        )
        return cls(
            converted.model if converted else "",
            converted.weight_bytes if converted else None,
            converted.bits_per_weight if converted else None,
            compared.mean_kld if compared else None,
            compared.same_first_choice if compared else None,
            compared.perplexity_ratio if compared else None,
            speed.headline.generation_tps.median if speed else None,
            speed.named if speed else "",
            pictures_kld(by_stage["fidelity"].result) if compared else None,
        )

    @property
    def closeness(self) -> Closeness | None:
        """The step of the scale of words; None if it was not compared."""
        return None if self.mean_kld is None else closeness(self.mean_kld)


def pictures_kld(compared: Mapping[str, object]) -> float | None:
    """Return the mean KL divergence behind pictures that a comparison has; None where it has none."""
    pictures = compared.get("pictures")
    return _number(pictures.get("mean_kld")) if isinstance(pictures, Mapping) else None


def _number(value: object) -> float | None:
    """Return a number as it is. Raises `TypeError` for what is none."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise TypeError(f"{type(value).__name__} is not a number")
