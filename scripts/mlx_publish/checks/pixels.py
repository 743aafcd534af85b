"""The judgement about pixel values: what users' processor gives is what the source's gives."""

from __future__ import annotations

from mlx_publish.checks.base import Check, Says, failed, passed, skipped
from mlx_publish.evidence.pixels import PixelsCompared

_NAMED = 3


def _equal(found: PixelsCompared) -> Says:
    if found.not_compared:
        return skipped(f"pixel values are not compared: {found.not_compared}", told=True)
    if found.differing:
        more = f" and {len(found.differing) - _NAMED} more" if len(found.differing) > _NAMED else ""
        return failed(
            f"mlx-vlm's processor gives other pixel values than transformers' of the source: "
            f"{'; '.join(found.differing[:_NAMED])}{more}",
            "Compare preprocessor_config.json and processor_config.json with the source's; a newer mlx-vlm may read "
            "them as transformers does. Accept this check with a reason if the difference does not matter.",
            differing=list(found.differing),
        )
    if not found.pictures:
        return skipped("pixel values are not compared: transformers' processor takes none of the pictures", told=True)
    words = f"mlx-vlm's processor gives the pixel values of transformers' for {found.pictures} drawn pictures"
    if found.drops_transparency:
        words += "; it drops transparency, which transformers puts onto white"
    return passed(words)


PIXELS: tuple[Check[PixelsCompared], ...] = (
    Check(
        "pixels-equal",
        "Pixel values are those of the source's processor",
        "a picture that the model sees in other colours, sizes or order",
        _equal,
    ),
)
