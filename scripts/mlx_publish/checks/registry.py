"""All checks by stage: what docs/checks.md lists, and what a recipe may accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish.checks.base import Check
from mlx_publish.checks.card import CARD
from mlx_publish.checks.judged import JUDGED
from mlx_publish.checks.published import PUBLISHED
from mlx_publish.checks.signed import ATTESTED, SIGNED
from mlx_publish.checks.upload import UPLOAD

BY_STAGE: Mapping[str, tuple[Check[Any], ...]] = {
    **JUDGED,
    "card": CARD,
    "upload": (*UPLOAD, *ATTESTED),
}

BY_COMMAND: Mapping[str, tuple[Check[Any], ...]] = {"verify": (*PUBLISHED, *SIGNED)}
"""Checks of published models; there is nothing to accept."""

# Failures raised during the work instead of judged after it; they always count: stage, title, what it protects from.
RAISED: Mapping[str, tuple[str, str, str]] = {
    "room": ("inspect", "The disk has enough space", "hours of work that end with a full disk"),
    "hub-limits": ("inspect", "The Hub takes files of this size and number", "hours of an upload that the Hub refuses"),
    "tokenizer-tame": ("convert", "The tokenizer is bounded in time and memory", "a file that takes down the machine"),
    "memory-bounded": (
        "convert",
        "The conversion stays within the memory its size explains",
        "a model that takes down the machine",
    ),
    "builds": ("convert", "The converter can build the model", "weights that do not fit the architecture"),
    "converts": ("convert", "The converter can make the variant", "a quantization that does not exist"),
    "same-shape": ("fidelity", "Both models have the same vocabulary", "comparing unrelated numbers"),
    "reports-untouched": ("card", "No report was edited", "made-up numbers in the work folder"),
    "destination-ours": (
        "upload",
        "The destination is empty or was made from this source",
        "overwriting somebody else's repo",
    ),
    "tag-free": ("upload", "The tag is free", "moving a published tag"),
    "evidence-readable": ("verify", "The model has evidence written by mlx-publish", "a verdict about nothing"),
    "remote-equal": ("upload", "The uploaded files equal the local ones", "bytes changed in transit"),
}
