"""What a tiny vision-language model is made of, and the families that are entered.

The keys and the files are those of the family's repositories on the Hub; only the sizes are small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Dict = dict[str, Any]
HIDDEN, VOCAB = 64, 448
TEXT: Dict = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
NEAREST, LANCZOS, BILINEAR, BICUBIC = 0, 1, 2, 3
RESCALED = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}


@dataclass(frozen=True)
class Family:
    """One tiny model: its parts, all but weights."""

    config: Dict
    special: tuple[str, ...]
    """In the order of their ids, from 0."""
    tokens: Dict
    """tokenizer_config.json."""
    template: str
    image: Dict = field(default_factory=dict)
    """preprocessor_config.json."""
    processor: Dict = field(default_factory=dict)
    """processor_config.json."""
    eos: tuple[str, ...] = ()
    fallback: bool = False
    """The tokenizer's bytes stand as `<0x0A>`."""
    video: Dict | None = None
    audio: Dict | None = None
    own_video_file: bool = True
    """Its repositories have a video_preprocessor_config.json."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Patterns and replacements: from the names that transformers gives the tensors to those of the repositories."""
    slot: str = "<image>"
    """The token that the chat template writes where a picture stands."""
    around: tuple[str, str] = ("", "")
    """What the template writes before and after it."""

    @property
    def kind(self) -> str:
        """The class of the processor."""
        return str(self.processor.get("processor_class") or self.image["processor_class"])


FAMILIES: dict[str, Callable[[], Family]] = {}


def family(make: Callable[[], Family]) -> Callable[[], Family]:
    """Enter a family under the name of its function."""
    FAMILIES[make.__name__] = make
    return make
