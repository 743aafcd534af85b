"""What the reports of the stages hold as their result: each stage returns one of these, and readers take it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlx_publish.evidence.conversion import MadeOn
from mlx_publish.evidence.digests import FileDigest
from mlx_publish.evidence.drafter import Drafter, DrafterProof
from mlx_publish.evidence.measured import Against, Answer, Divergence, Messages
from mlx_publish.evidence.proof import ReferenceProof, TwinProof
from mlx_publish.evidence.quantization import Gain, Quantization
from mlx_publish.evidence.records import LEFT_OUT
from mlx_publish.evidence.seen import Media


@dataclass(frozen=True)
class Held:
    """How a source holds its weights where they are quantized."""

    method: str
    """For people, as `fp8, 8 bits`."""
    bits: float
    """Of most of the quantized numbers."""
    weights: int
    """How many weights are quantized."""
    dtype: str
    """What they become when they are read, as `bfloat16`."""


@dataclass(frozen=True)
class ReadFrom:
    """What became of the weights of a quantized source."""

    repacked: int
    """Weights whose integers and scales are the source's."""
    quantized: int
    """Weights of the source that the variant quantizes, those among them."""
    apart: int
    """Numbers in whose last bit two readers differ, of those that were compared."""
    compared: int
    rounded: int
    """Groups of repacked weights whose scale or bias is rounded."""
    off: float
    """By how much that moves a number at most, in steps of its group."""


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
    held: Held | None = field(default=None, metadata=LEFT_OUT)
    """None for plain numbers."""


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
    """Why its front matter cannot be read; empty if it can."""


@dataclass(frozen=True)
class AdapterName:
    """An adapter that is fused into the source."""

    name: str
    repo: str | None
    """None for a folder."""
    identity: str
    """Commit, or digest of the files that are taken of the folder."""
    kind: str
    """`lora`, `dora`, or `full` for whole parameters."""
    maker: str
    """`peft` or `mlx-lm`."""
    rank: int | None
    """The highest; None for whole parameters."""
    tensors: int
    licence: str | None
    """That its card states."""


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
    adapter: AdapterName | None = field(default=None, metadata=LEFT_OUT)
    """What is fused into the source."""
    streamed: bool | None = field(default=None, metadata=LEFT_OUT)
    """Whether the source is converted straight from the Hub and never lies whole on this disk."""


@dataclass(frozen=True)
class Refusal:
    """What `inspect` reports of a source that is refused: the look ended where the first check failed."""

    source: SourceName


@dataclass(frozen=True, kw_only=True)
class KeptTower:
    """What `convert` reports of a part that sees or hears, or of what joins it to the language model."""

    name: str
    """How the class calls it."""
    sense: str
    """What it takes: `images` or `audio`."""
    role: str
    """`encoder` or `projector`."""
    tensors: int
    parameters: int
    bytes: int
    dtypes: Sequence[str]
    """Types of what is not packed."""
    bits: int | None
    """Of its quantized linear layers; None where there are none."""
    group_size: int | None = field(default=None, metadata=LEFT_OUT)
    """Of these layers."""


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
    """Of the language model, where there are `towers`."""
    towers: Sequence[KeptTower] | None = field(default=None, metadata=LEFT_OUT)
    """None for a text model."""
    kept_wider: str | None = field(default=None, metadata=LEFT_OUT)
    """What the class quantizes otherwise than asked for, in words."""
    dtypes: Sequence[str]
    made_on: MadeOn | None = field(default=None, metadata=LEFT_OUT)
    """What computed the bytes."""
    read_from: ReadFrom | None = field(default=None, metadata=LEFT_OUT)
    """None for a source of plain numbers."""
    quantization: Quantization | None = field(default=None, metadata=LEFT_OUT)
    """How bits were chosen or learned; None for plain rounding."""
    drafter: Drafter | None = field(default=None, metadata=LEFT_OUT)
    """What was made of the source's multi-token heads; None where they are left out."""
    streamed: bool | None = field(default=None, metadata=LEFT_OUT)
    """Whether the source came straight from the Hub, one weight file at a time."""


@dataclass(frozen=True)
class _Asked:
    messages: Messages


@dataclass(frozen=True)
class Exchange(Answer, _Asked):
    """The recipe's question and the answer to it, which the card shows."""


@dataclass(frozen=True)
class ShortAnswer:
    """An answer to another question."""

    answer: str
    tokens: Sequence[int]
    prompt_tokens: int
    stop: str
    leaked: Sequence[str]


@dataclass(frozen=True)
class DialogueText:
    """What a dialogue becomes for users of the converted model."""

    text: str | None
    """None if there is an `error`."""
    error: str | None
    tokens: int
    same: bool
    """Whether the source gives the same."""


@dataclass(frozen=True)
class Smoke:
    """What `smoke` reports."""

    chat_template: bool
    capabilities: Mapping[str, object] | None
    system: str
    """The way of the system text, as `native`."""
    options: Mapping[str, object]
    """Of the chat template."""
    computed_in: str
    stop_ids: Sequence[int]
    vocabulary: int
    exchange: Exchange
    answers: Mapping[str, ShortAnswer]
    """By the name of their question."""
    source_answers: Mapping[str, ShortAnswer]
    dialogues: Mapping[str, DialogueText]
    drafter: DrafterProof | None = field(default=None, metadata=LEFT_OUT)
    """How mlx-vlm generates with the drafter; None without one, or where it was not proven."""
    pictures: Media | None = field(default=None, metadata=LEFT_OUT)
    """What a model that sees or hears makes of pictures and sounds; None for one of text alone."""


@dataclass(frozen=True, kw_only=True)
class Fidelity(Divergence):
    """What `fidelity` reports of a variant that was compared."""

    source_computed_in: str
    limited: bool
    """Whether the store's limit made the text shorter than asked for."""
    against: Against
    reference: ReferenceProof | None = None
    """The source in transformers; None if that was not asked for, or not possible."""
    gain: Gain | None = field(default=None, metadata=LEFT_OUT)
    """Beside plain rounding at equal bytes; None for a variant that is plain rounding."""
    pictures_not_measured: str | None = field(default=None, metadata=LEFT_OUT)
    """Why a model that sees has no `pictures`."""


@dataclass(frozen=True)
class NotCompared:
    """What `fidelity` reports of the variant that stands for the source."""

    not_measured: str
    """The reason."""
    against: Against
    reference: ReferenceProof | None = None


@dataclass(frozen=True)
class CardFiles:
    """What `card` reports: digests of what it wrote; None is a file that is not there."""

    evidence: str
    files: Mapping[str, str | None]


@dataclass(frozen=True)
class PublishedFolder:
    """What `upload` reports of a folder."""

    published: bool
    files: int
    bytes: int
    folder: str


@dataclass(frozen=True)
class PublishedRepo:
    """What `upload` reports of a repo on the Hub."""

    published: bool
    files: int
    bytes: int
    repo: str
    commit: str
    tag: str
    """Empty for a pull request."""
    sent: Sequence[str]
    """Files that had to travel."""
    removed: Sequence[str]
    private: bool
    pull_request: str
    read_back: int
    """Bytes that were loaded once more and compared."""


@dataclass(frozen=True)
class PlannedUpload:
    """What `upload --dry-run` reports: nothing was written."""

    published: bool
    destination: str
    state: str
    """`new`, `ours`, or `adopted` where files of somebody else would be replaced."""
    tag: str | None
    """Empty if none would be set; None if the signature decides it."""
    bytes: int
    sent: Sequence[FileDigest]
    unchanged: int
    removed: Sequence[str]


@dataclass(frozen=True)
class HeldBack:
    """What `upload` reports where a variant of the recipe was refused."""

    published: bool = False


@dataclass(frozen=True)
class Broken:
    """What every stage reports where it broke."""

    error: str
