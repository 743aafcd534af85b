"""Checks of a source, in the order of what they cost."""

from __future__ import annotations

from mlx_publish.checks import learnable, modality
from mlx_publish.checks.adapter import ADAPTER
from mlx_publish.checks.architecture import ARCHITECTURE
from mlx_publish.checks.base import Check
from mlx_publish.checks.calibration import APART
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.checks.folder import LEGAL, UNREAD
from mlx_publish.checks.held import HELD
from mlx_publish.checks.licence import PAPERS, REVISION
from mlx_publish.checks.processor import PROCESSOR
from mlx_publish.checks.quantization import BY_CONFIG, BY_HEADERS
from mlx_publish.checks.tokenizer import TOKENIZER
from mlx_publish.checks.twin import TWIN
from mlx_publish.checks.values import LAYERS, VALUES
from mlx_publish.checks.weights import HEADERS, INDEXED, LISTED, STORED

__all__ = ["GROUPS", "INSPECT", "SourceFacts"]

# A failure in one group skips the rest: nothing more is loaded of a model that config.json alone refuses.
GROUPS: tuple[tuple[Check[SourceFacts], ...], ...] = (
    UNREAD,
    ADAPTER,
    (*REVISION, *ARCHITECTURE, *VALUES, *modality.BY_CONFIG, *modality.ASKED, *BY_CONFIG, *learnable.BY_CONFIG),
    INDEXED,
    LISTED,
    APART,
    TWIN,
    HEADERS,
    (
        *STORED,
        *LAYERS,
        *modality.BY_TENSORS,
        *BY_HEADERS,
        *HELD,
        *learnable.BY_HEADERS,
        *TOKENIZER,
        *PROCESSOR,
        *LEGAL,
        *PAPERS,
        *modality.NAMED,
    ),
)
INSPECT: tuple[Check[SourceFacts], ...] = tuple(check for group in GROUPS for check in group)
