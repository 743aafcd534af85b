"""Encoders of pictures and sound beside a language model: cut to one layer, their widths as they are."""

from __future__ import annotations

import re
from typing import Any

TOWERS = (
    "vision_config", "audio_config", "speech_config", "video_config", "visual", "vision_tower", "vq_config",
    "talker_config", "token2wav_config", "image_processor",
)  # fmt: skip
PICTURES = ("vision_config", "visual", "vision_tower")
"""Those that see."""
OF_STAGES = re.compile(r"channel|kernel|stride|size|factor|mean|std")
"""Of a key whose list says nothing of layers."""
DEPTHS = (
    "num_hidden_layers",
    "depth",
    "num_layers",
    "n_layers",
    "layers",
    "conf_num_hidden_layers",
    "num_global_layers",
)
_OUT = (
    "out_hidden_size",
    "projection_dim",
    "text_hidden_size",
    "output_dim",
    "proj_dim",
    "hidden_size_out",
    "projector_output_dim",
)
_POINTS = ("deepstack_visual_indexes", "vision_feature_layer", "fullatt_block_indexes")


def small_tower(tower: dict[str, Any], hidden: int, small: int) -> None:
    """Leave one layer, and let what leads into a language model of width `hidden` lead into one of width `small`."""
    count = next((tower[key] for key in DEPTHS if type(tower.get(key)) is int), 0)
    for key, value in list(tower.items()):
        if isinstance(value, list) and len(value) == count and count > 1 and not OF_STAGES.search(key):
            tower[key] = value[:1]
        elif isinstance(value, dict):
            small_tower(value, hidden, small)
        elif key in DEPTHS and type(value) is int:
            tower[key] = min(value, 1)
        elif key in _OUT and value == hidden:
            tower[key] = small
        elif key in _POINTS and isinstance(value, list):
            tower[key] = [0]
