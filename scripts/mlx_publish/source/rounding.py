"""The curve of plain rounding of a source, on the text of the comparison: measured where needed, and kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.evidence.quantization import RoundingPoint
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.rounding import RoundingCurve
from mlx_publish.machine.packages import computes_by
from mlx_publish.methods import Form
from mlx_publish.methods.rtn import METHOD, Bits
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.bounds import bounds, rounded
from mlx_publish.source.kept import Kept
from mlx_publish.source.layout import readable_source
from mlx_publish.source.logits import SourceLogits
from mlx_publish.source.resolve import converter, source_of

GROUP_SIZES = (64, 32)
"""The second one is for models whose rows the first does not divide."""


@dataclass(frozen=True)
class Point:
    """A width that was measured, and the file with its values by position."""

    measured: RoundingPoint
    values: Path


def plain_forms(dtype: str | None) -> list[list[VariantOrder]]:
    """Return plain rounding at all widths, by group size, with all else in a type."""
    forms = [[Form(True, bits, group, "affine", dtype=dtype) for bits in get_args(Bits)] for group in GROUP_SIZES]
    return [
        [
            VariantOrder("", METHOD.label(form), True, form.bits, form.group_size, form.mode, None, dtype)
            for form in group
        ]
        for group in forms
    ]


def is_plain(variant: Variant, dtype: str | None) -> bool:
    """Return whether a variant is a point of the curve: one width for everything, in the usual groups."""
    form = variant.form
    usual = form.mode == "affine" and form.group_size == GROUP_SIZES[0] and form.mixed is None and form.dtype == dtype
    return form.quantized and usual and variant.quantizer is METHOD


@dataclass(frozen=True)
class Rounding:
    """What is known of the curve, in a folder beside the source's other facts; one a type."""

    context: Context
    logits: SourceLogits
    dtype: str | None

    @property
    def folder(self) -> Path:
        """Where the values by position lie, by label."""
        return self.context.work.source / "rounding" / (self.dtype or "as-stored")

    def values(self, label: str) -> Path:
        """Return the file with the values of a width."""
        return self.folder / f"{label}.npz"

    def known(self) -> RoundingCurve:
        """Return what was measured of this source, on this text, with these tools; a curve without widths is new."""
        curve = self._kept().known() or RoundingCurve(())
        return curve.without([label for label in curve.points if self._digest(label) != curve.sha256.get(label)])

    def measured(self, targets: Sequence[int], own: Mapping[str, Point]) -> RoundingCurve:
        """Return the curve with the neighbours of each of `targets`, in bytes of weights; what lacks is measured.

        `own` are the recipe's plain variants that were compared already, by the labels of the curve.
        """
        curve = self.known()
        for label, point in own.items():
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(point.values, self.values(label))
        points = {**curve.points, **{label: point.measured for label, point in own.items()}}
        curve = replace(curve, points=points)
        if not curve.widths or any(not _is_known(curve, target) for target in targets):
            made = self._run(targets, [*points])
            curve = RoundingCurve(made.widths, {**points, **made.points}, broken=made.broken)
        labels = [width.label for width in curve.widths if width.label in curve.points]
        kept = {label: curve.points[label] for label in labels}
        curve = replace(curve, points=kept, sha256={label: self._digest(label) for label in labels})
        self._kept().keep(curve)
        return curve

    def _run(self, targets: Sequence[int], known: Sequence[str]) -> RoundingCurve:
        """Let the engine measure; the source is read once."""
        with readable_source(self.context) as folder:
            arguments = {
                "source": str(folder),
                "store": str(self.logits.store),
                "into": str(self.folder),
                "forms": to_json(plain_forms(self.dtype)),
                "targets": [*targets],
                "known": [*known],
            }
            log, limits = self.context.work.source / "rounding.log", bounds(self.context, 1 + 2 * len(targets))
            job = Job("curve", arguments, log, limits, self.context.children)
            return from_json(RoundingCurve, rounded(run_job(job, self.context.console.progress)))

    def _digest(self, label: str) -> str:
        path = self.values(label)
        return sha256_of(path) if path.is_file() else ""

    def _kept(self) -> Kept[RoundingCurve]:
        inputs = {
            **source_of(self.context).named,
            "asked": self.logits.asked(),
            "forms": to_json(plain_forms(self.dtype)),
            "tools": converter(self.context).versions(),
            "by": computes_by(),
        }
        return Kept(self.folder.with_suffix(".json"), RoundingCurve, inputs)


def _is_known(curve: RoundingCurve, target: int) -> bool:
    return all(width.label in (*curve.points, *curve.broken) for width in curve.neighbours(target))
