"""The text that methods read which choose or learn bits."""

from __future__ import annotations

from mlx_publish.context import Context
from mlx_publish.evidence.digests import digest_of
from mlx_publish.evidence.sensitivities import CalibrationOrder
from mlx_publish.source.logits import texts

_SAMPLES, _LENGTH, _SEED = 32, 256, 0


def calibration_order(context: Context) -> CalibrationOrder:
    """Return the text and how much of it is read."""
    own = context.once("calibration", texts)
    return CalibrationOrder(own, digest_of(own), _SAMPLES, _LENGTH, _SEED)


def calibration_inputs(context: Context) -> dict[str, object]:
    """Return what identifies that text and how much of it is read."""
    order = calibration_order(context)
    return {"sha256": order.sha256, "samples": order.samples, "length": order.length, "seed": order.seed}


def calibration_name(context: Context) -> str:
    """Return `package`, or the name of the user's file."""
    return "package" if calibration_order(context).texts is context.once("calibration", texts) else "file"
