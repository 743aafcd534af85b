"""What a comparison of MLX with transformers shows, of a source itself and of its twin; float32 on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_publish.evidence.records import KEYWORDS, LEFT_OUT

# A class with two bases has the fields of its last base first.


@dataclass(frozen=True)
class LogitsComparison:
    """How far the logits of two implementations are apart; None if a `problem` leaves no number."""

    positions: int
    nmse: float | None
    """Normalised mean squared error, as `torch_check/comparing` defines it."""
    worst_position: float | None
    """The same of the worst position alone."""
    same_first_choice: float | None
    """Share of positions at which both prefer the same token."""
    problem: str


@dataclass(frozen=True)
class _ByContext:
    original_context: int
    """Positions from which on longrope takes its factors for long texts."""


@dataclass(frozen=True)
class BeyondContext(LogitsComparison, _ByContext):
    """The same comparison with the factors that longrope has for long texts."""


@dataclass(frozen=True)
class _ByKey:
    key: str
    value: Any
    agreed: Any
    """The value with which both agree."""


@dataclass(frozen=True)
class Disputed(LogitsComparison, _ByKey):
    """The same comparison with the value of a key that makes both agree, where they are known to differ in it."""


@dataclass(frozen=True)
class Compared(LogitsComparison):
    """What the child with torch returns of a source."""

    __pydantic_config__ = KEYWORDS
    class_: str
    """The class of transformers."""
    beyond_context: BeyondContext | None
    disputed: Disputed | None
    not_covered: Sequence[str]
    """What shows only in longer texts."""


@dataclass(frozen=True)
class LogitsRead:
    """How much MLX read of the texts, and the SHA-256 of the ids as a JSON list of lists."""

    sequences: int
    positions: int
    tokens_sha256: str


@dataclass(frozen=True)
class ReferenceProof(Compared):
    """The unquantized source in MLX beside the same source in transformers."""

    against: str
    versions: Mapping[str, str]
    computed_in: str
    sequences: int
    tokens_sha256: str


@dataclass(frozen=True)
class Boundary:
    """A position of the twin at which something else begins: the key that sets it, and the source's value of it."""

    position: int
    key: str
    value: Any


@dataclass(frozen=True)
class SmallConfig:
    """The small config of a twin, and its boundaries."""

    config: Mapping[str, object]
    boundaries: Sequence[Boundary]


@dataclass(frozen=True)
class TwinMade:
    """A twin as transformers made it."""

    __pydantic_config__ = KEYWORDS
    class_: str
    """The class of transformers."""
    parameters: int
    texts: Sequence[Sequence[int]]
    """Ids of the texts that it read."""
    pictures: int = 0
    """How many texts with pictures it read too."""
    no_pictures: str = ""
    """Why it read none, where it was to."""


@dataclass(frozen=True)
class PicturesDrawn:
    """What a job that draws pictures for a twin returns."""

    problem: str
    """Why no processor could be asked; empty if one was."""


@dataclass(frozen=True)
class TwinRead:
    """A twin as mlx-lm reads it."""

    problem: str
    """Why it cannot; empty if it can."""
    lost: Sequence[str]
    """Tensors without a place in the model."""
    picture_problem: str = ""
    """Why it cannot where pictures are shown to it."""


@dataclass(frozen=True)
class TwinsRead:
    """Twins as mlx-lm reads them, in the order in which they were asked for."""

    twins: Sequence[TwinRead]


@dataclass(frozen=True)
class TwinText(LogitsComparison):
    """The comparison on one text of a twin."""

    mean_kld: float | None
    """Mean Kullback-Leibler divergence, in nats."""
    position: int | None
    """The first position that differs; None if none does."""


@dataclass(frozen=True)
class TwinPicture(TwinText):
    """The comparison on one text of a twin with pictures."""

    pictures: int
    part: str
    """Where it begins to differ, as `torch_check/parts` tells; empty where it does not."""


@dataclass(frozen=True)
class TwinTexts:
    """The comparisons on a short and on a long text, in this order; empty where mlx-lm read neither."""

    texts: Sequence[TwinText]
    pictures: Sequence[TwinPicture] = ()
    """With one picture and with two; empty where none were shown."""


@dataclass(frozen=True)
class PicturesProof:
    """What the twin shows where pictures are shown to it."""

    problem: str
    """Why mlx-vlm cannot compute it; empty if it can, or if it was not asked."""
    not_proven: str
    """Why pictures were not shown; empty if they were."""
    texts: Sequence[TwinPicture]
    """With one picture and with two of different sizes."""


@dataclass(frozen=True)
class MetBoundary:
    """The boundary of the source at which a difference begins."""

    key: str
    position: Any
    """The source's value of the key."""


@dataclass(frozen=True)
class TwinProof:
    """A small random model of a source's config in mlx-lm and in transformers, and the key to blame."""

    __pydantic_config__ = KEYWORDS
    class_: str
    """The class of transformers."""
    parameters: int
    problem: str
    """Why mlx-lm cannot compute it; empty if it can."""
    lost: Sequence[str]
    against: str
    versions: Mapping[str, str]
    mlx_lm: Mapping[str, str]
    boundary: MetBoundary | None
    blame: str | None
    value: Any
    """The neutral value of the key to blame."""
    texts: Sequence[TwinText]
    pictures: PicturesProof | None = field(default=None, metadata=LEFT_OUT)
    """None for text alone."""
