"""A random Qwen3-VL of a real shape with a tiny tokenizer, 0.5 GB in bfloat16; made in the Python with torch.

PYTHON large_vision.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from vision_families import FAMILIES
from vision_family import Family
from vision_making import make

HIDDEN, TOWER, VOCABULARY = 1024, 768, 32_000


def larger() -> Family:
    """Return the tiny Qwen3-VL with a language model of 134 million parameters and a tower of 107 million."""
    one = tiny()
    text, tower = one.config["text_config"], one.config["vision_config"]
    text.update(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=3 * HIDDEN,
        num_hidden_layers=8,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=64,
        rope_scaling={"mrope_interleaved": True, "mrope_section": [12, 10, 10], "rope_type": "default"},
    )
    tower.update(
        depth=8,
        hidden_size=TOWER,
        intermediate_size=4 * TOWER,
        num_heads=12,
        out_hidden_size=HIDDEN,
        num_position_embeddings=48**2,
        deepstack_visual_indexes=[2, 4, 6],
    )
    one.image["size"] = {"shortest_edge": 256**2, "longest_edge": 4096**2}
    return one


tiny = FAMILIES["qwen3_vl"]

if __name__ == "__main__":
    FAMILIES["qwen3_vl"] = larger
    make(Path(sys.argv[1]), "qwen3_vl")
