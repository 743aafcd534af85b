"""What a model takes and gives beside text, by its config and by the names of its tensors.

The classes of mlx-lm keep the language model and leave out the towers in their `sanitize`, without a word; those of
mlx-vlm keep both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# Parts of a model that are no language model, by a part of a tensor's name: encoders and what joins them to it.
_TOWER = re.compile(
    r"vision|visual|audio|speech|video|image_newline|multi_?modal_projector"
    r"|(?:^|\.)(?:embed_image|patch_merge_mlp|image_projector|img_projector|mm_projector\d*|modality_projection|vpm|apm|resampler"
    r"|talker|token2wav|code2wav)(?:\.|$)"
)
_SENSE = re.compile(r"(?:^|_)(?:vision|visual|vit|image|img|audio|speech|sound|video|talker|token2wav|code2wav)(?:_|$)")
# Of what a config without towers has no use: ids and sizes of images, sounds and their places in a prompt.
_OF_A_SENSE = re.compile(
    r"(?:^|_)(?:vision|visual|vit|image|img|audio|speech|sound|video|media|multimodal|boi|eoi|boa|eoa|talker)(?:_|$)"
    r"|(?:^|_)(?:pixels?|tiles?|thumbnail)(?:_|$)|^mm_|^projector_|_projector_|^(?:encoder_)?patch_size$"
    r"|^spatial_merge_size$|^downsample_factor$"
)
_KIND = (
    ("images", r"vision|visual|vit|image|img|vpm|resampler"),
    ("audio", r"audio|speech|sound|apm|talker|2wav"),
    ("video", r"video"),
)
_BOTH = re.compile(r"For(?:ConditionalGeneration|ImageTextToText|Vision2Seq|AnyToAny|SpeechSeq2Seq|AudioTextToText)$")


LANGUAGE = "language_model."
"""With this begins the path of each parameter of the language model in a class of mlx-vlm."""


def is_language(tensor: str) -> bool:
    """Return whether a tensor belongs to the language model, by its name."""
    return _TOWER.search(tensor) is None


def senses_in(config: Mapping[str, object]) -> tuple[str, ...]:
    """Return the keys of config.json that describe an encoder, as `vision_config`; empty values do not count."""
    return tuple(
        key
        for key, value in config.items()
        if _SENSE.search(key)
        and value
        and (isinstance(value, Mapping) or (isinstance(value, str) and key.endswith("tower")))
    )


def kinds_in(names: Iterable[str]) -> frozenset[str]:
    """Return what keys or tensors stand for: `images`, `audio`; video is seen by what sees images."""
    text = " ".join(names)
    kinds = (word for word, pattern in _KIND if re.search(pattern, text))
    return frozenset("images" if word == "video" else word for word in kinds)


def in_words(names: Iterable[str]) -> str:
    """Say what keys or tensors stand for: `images`, `images and audio`; `more than text` where no name shows it."""
    text = " ".join(names)
    kinds = [word for word, pattern in _KIND if re.search(pattern, text)]
    return " and ".join(filter(None, (", ".join(kinds[:-1]), *kinds[-1:]))) or "more than text"


def senses_of(config: Mapping[str, object]) -> tuple[str, ...]:
    """Return what a model takes beside text, by its config: `images`, `audio`, `video`."""
    text = " ".join(senses_in(config))
    return tuple(word for word, pattern in _KIND if re.search(pattern, text))


def kinds_of(config: Mapping[str, object]) -> tuple[str, ...]:
    """Return what a model can be shown, by its config: `picture`, `sound`."""
    kinds = {"images": "picture", "audio": "sound"}
    return tuple(kinds[sense] for sense in senses_of(config) if sense in kinds)


def text_alone(config: Mapping[str, object]) -> dict[str, Any]:
    """Return the config without what claims more than text; the language model's part stays as it is.

    The classes of mlx-lm that drop the towers read `text_config` alone, so they load it all the same. A class name of
    transformers goes where it is that of the whole model: none of theirs has this part under these names.
    """
    kept = {key: value for key, value in config.items() if not _OF_A_SENSE.search(key)}
    names = config.get("architectures")
    if isinstance(names, list) and any(isinstance(name, str) and _BOTH.search(name) for name in names):
        del kept["architectures"]
    return kept
