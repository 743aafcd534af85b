"""What the engine reports of a conversion: of the built model, of the tensors, of the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_publish.evidence.measured import Answers, SourceRead


@dataclass(frozen=True)
class VariantOrder:
    """A variant as the engine is asked for it; `bits`, `group_size` and `mode` count where it is to be quantized."""

    folder: str
    """Where it goes."""
    label: str
    quantize: bool
    bits: int | None
    group_size: int | None
    mode: str | None
    mixed: str | None
    dtype: str | None
    method: str = "rtn"
    """The module of `engine/methods` that quantizes it."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Keys of a method that chooses or learns, as the recipe has them."""
    plan: str = ""
    """Path of the plan file, where bits are chosen by module."""
    calibration: Mapping[str, Any] | None = None
    """The fields of a `CalibrationOrder`, for a method that reads text."""
    towers: tuple[int, int] | None = None
    """Bits and group size of what sees or hears; None leaves it unquantized."""
    state: str = ""
    """Path of the file in which a method that takes long keeps how far it is; empty if it is not to keep anything."""


@dataclass(frozen=True)
class Mismatch:
    """A value of the config that is another one in the built model."""

    config: Any
    built: Any


@dataclass(frozen=True)
class Rope:
    """What the config declares of rotary embeddings and no layer of the built model turns by."""

    missing_bases: Sequence[float]
    declared_scaling: str | None


@dataclass(frozen=True)
class Hyperparameters:
    """The built model beside its config."""

    ignored: Mapping[str, object]
    """Keys that change the mathematics and that the MLX class neither knows nor can have been written for."""
    differs: Mapping[str, Mismatch]
    rope: Rope
    filled: Mapping[str, object] = field(default_factory=dict)
    """By place what transformers takes where the config says nothing, and the class would take otherwise: written."""


@dataclass(frozen=True)
class Accounted:
    """What became of the source's tensors."""

    source: int
    """How many the source has."""
    model: int
    """How many the built model has."""
    dropped: Mapping[str, str]
    """Name -> the reason for which it is left out, `fused` and `tied` among them."""
    unexplained: Sequence[str]
    """Those that have no place in the MLX model, for no known reason."""
    renamed: str | None
    """The prefix of names that was changed, as `model.language_model. -> model.`; None if none was."""


@dataclass(frozen=True)
class NormKinds:
    """Kinds of norms that show another convention of the scale than their class: shifted twice, not at all, mixed."""

    twice: Sequence[str] = ()
    missing: Sequence[str] = ()
    mixed: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self.twice or self.missing or self.mixed)


@dataclass(frozen=True)
class Routing:
    """What became of router biases that the source keeps in float32."""

    kept: Sequence[str] = ()
    """In float32, as the source has them."""
    merged: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Rounded, so that fewer values than before are distinct: how many are, and how many were."""


@dataclass(frozen=True)
class KeptLayers:
    """Layers that are not quantized as all others."""

    wider: Mapping[str, int] = field(default_factory=dict)
    """Path -> bits, more than were asked for: the class of the model wants it so."""
    whole: Sequence[str] = ()
    """Those that the class leaves unquantized."""
    nearest: Sequence[str] = ()
    """Those of a plan whose scales the class chooses itself, so that they are not chosen by importance."""
    fallback: Mapping[str, int] = field(default_factory=dict)
    """Path -> bits, more than were asked for, of what a method cannot do and rounds."""


@dataclass(frozen=True)
class Towers:
    """What became of the parts that see or hear, and of what joins them to the language model."""

    quantized: int = 0
    """Linear layers with fewer bits."""
    bits: int | None = None
    """Theirs; None where none is quantized."""
    group_size: int | None = None
    refused: str = ""
    """The type that was asked for and that they are not cast to, because its numbers end too early."""
    whole: Sequence[str] = ()
    """Linear layers that groups do not divide, where bits were asked for."""


@dataclass(frozen=True)
class MadeOn:
    """What computed the bytes of a conversion."""

    device: str
    """`cpu` or `gpu`."""
    backend: str
    """That of MLX: `cpu`, `metal` or `cuda`."""
    architecture: str
    """Of the processor, as `arm64` or `x86_64`."""
    system: str
    """As `Darwin` or `Linux`."""
    mlx: str
    """The version of MLX."""


@dataclass(frozen=True)
class Learned:
    """What a method that learns did."""

    made_on: MadeOn
    """It computes on the GPU, where there is one; rounding never does."""
    samples: int
    """That it read."""
    length: int
    """Tokens of the longest one."""
    steps: int = 0
    """Of training; 0 for a method without."""
    before: float | None = None
    """Loss on samples that it did not learn from, in nats, before the first step; None for a method without."""
    after: float | None = None
    """The same, with the weights that were written."""
    resumed: int = 0
    """Steps that an interrupted run had done."""


@dataclass(frozen=True)
class Repacked:
    """What of a quantized source became MLX's by moving its bits."""

    weights: int
    """Of the source's quantized weights: those whose integers and scales are the source's."""
    of: int
    """Of them: those that this variant quantizes."""
    groups: int = 0
    """Groups of numbers with a scale, in what was repacked."""
    rounded: int = 0
    """Groups whose scale or bias is not exact in its type."""
    off: float = 0.0
    """By how much a weight is off the source's exact value at most, in steps of its group."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Why other weights are quantized anew, and how many for each reason."""


@dataclass(frozen=True)
class PackedRead:
    """The quantized weights of a source, read by two implementations before anything was made of them."""

    weights: int
    """How many."""
    numbers: int
    """How many numbers of them were compared."""
    apart: int = 0
    """Numbers that differ in the last bit of their type, as two orders of multiplication do."""
    whole: int = 0
    """Weights that MLX computed whole besides."""
    repacked: int = 0
    """Numbers of repacked weights that were compared after MLX dequantized them."""
    strange: Sequence[str] = ()
    """What is strange of weights that both read alike, each as a sentence."""


@dataclass(frozen=True)
class Written:
    """What happened to the weights of one variant."""

    vanished: Sequence[str] = ()
    """Weights that are zero all over in its type, and not in the source."""
    overflows: str = ""
    """The first tensor that does not fit its type; nothing whole was written then."""
    routing: Routing = Routing()
    kept: KeptLayers = KeptLayers()
    sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files that were written, taken of the bytes on their way to the disk."""
    learned: Learned | None = None
    """None where no method learned anything."""
    repacked: Repacked | None = None
    """None where nothing of the source is quantized, or this variant is not."""
    towers: Towers | None = None
    """None for a text model."""
    reloaded: Sequence[str] | None = None
    """What the library's own loader makes otherwise of the folder than was written; None where it was not asked."""


@dataclass(frozen=True)
class ProbeDifference:
    """The first probe text that two tokenizers read differently, from two tokens before the difference on."""

    probe: str
    text: str
    position: int
    ids: Sequence[int]
    source_ids: Sequence[int]


@dataclass(frozen=True)
class TokenizerComparison:
    """The converted tokenizer, as mlx-lm loads it, beside the source's own."""

    error: str | None = None
    """Why one of them cannot be loaded or cannot read; nothing else is known then."""
    reference: str = ""
    """What the source's ids come from: `tokenizer.json`, or `transformers` for older files."""
    warnings: Sequence[str] = ()
    probes: int = 0
    different: int = 0
    first: ProbeDifference | None = None
    largest_id: int = -1
    largest_probe: str = ""
    round_trip: int = 0
    """Probes that decoding gives back."""
    not_given_back: Sequence[str] = ()
    vocabulary: int = 0
    stop_ids: Sequence[int] = ()
    plain: bool = False
    """Whether the folder with the plain class was taken, because the class of the other gives other ids."""
    class_of: str | None = None
    """What makes the class that overrules tokenizer.json: the `source`, or the model `type` that mlx-lm reads it as."""


@dataclass(frozen=True)
class Conversion:
    """All that the engine learns while it converted a source to its variants."""

    built: Hyperparameters
    tensors: Accounted
    norms: NormKinds
    dead: Sequence[str]
    """Weights of the source that are zero all over."""
    variants: Mapping[str, Written]
    tokenizer: TokenizerComparison
    reference: SourceRead | None = None
    answers: Answers | None = None
    made_on: MadeOn | None = None
    packed: PackedRead | None = None
    """None for a source of plain numbers."""
