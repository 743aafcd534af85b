"""What inspect.json and convert.json hold as their result, for the stages after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlx_publish.evidence.digests import FileDigest
from mlx_publish.evidence.proof import TwinProof
from mlx_publish.evidence.records import LEFT_OUT


@dataclass(frozen=True)
class SourceName:
    """A source by its names: all that is kept of one that is refused."""

    name: str
    repo: str | None
    """None for a folder."""
    identity: str
    """Commit, or digest of the folder."""
    base_model: str | None


@dataclass(frozen=True)
class InspectedSource(SourceName):
    """What is known of a source by its metadata and headers."""

    parameters: int
    weight_bytes: int
    weight_dtypes: Sequence[str]
    files: Sequence[str]
    """Those that conversion needs."""
    modality: str | None = field(default=None, metadata=LEFT_OUT)
    """`text` where text alone is published of a source that takes more."""
    not_supported: str | None = field(default=None, metadata=LEFT_OUT)
    """What the source takes beside it, in words."""


@dataclass(frozen=True)
class LicenceName:
    """The licence of a source."""

    id: str | None
    name: str | None
    link: str | None


@dataclass(frozen=True)
class SourceCard:
    """What the source's model card tells."""

    language: Sequence[str]
    pipeline_tag: str | None
    problem: str
    """Why its front matter cannot be read; empty where it can."""


@dataclass(frozen=True)
class Inspected:
    """What `inspect` reports of a source that is not refused."""

    source: InspectedSource
    config: Mapping[str, object]
    """What a reader wants to know of config.json at a glance."""
    twin: TwinProof | None
    tokenizer: Mapping[str, object]
    licence: LicenceName
    card: SourceCard
    estimated_bytes: int
    taken: Mapping[str, bool]
    """For the destination and known community names: whether the repo exists already."""


@dataclass(frozen=True)
class Refusal:
    """What `inspect` reports of a source that is refused: the look ended where the first check failed."""

    source: SourceName


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What `convert` reports of a folder: digests, sizes in bytes, widths."""

    model: str
    """The digest of the folder."""
    files: Sequence[FileDigest]
    bytes: int
    weight_bytes: int
    parameters: int
    bits_per_weight: float
    kept_wider: str | None = field(default=None, metadata=LEFT_OUT)
    """What the class quantizes otherwise than asked for, in words."""
    dtypes: Sequence[str]
