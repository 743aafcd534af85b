"""Qwen2-VL and Qwen2.5-VL: the text part's config stands at the top."""

from __future__ import annotations

from vision_family import BICUBIC, CLIP, HIDDEN, RESCALED, TEXT, Family, family
from vision_qwen import QWEN, QWEN_TEMPLATE, QWEN_TOKENS


@family
def qwen2_5_vl() -> Family:
    """Windows of attention in the tower; text config at the top, as its repositories have it."""
    patch = 14
    return Family(
        config={
            "model_type": "qwen2_5_vl",
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "image_token_id": 6,
            "video_token_id": 7,
            "vision_start_token_id": 3,
            "vision_end_token_id": 4,
            "vision_token_id": 5,
            **TEXT,
            "hidden_act": "silu",
            "bos_token_id": 0,
            "eos_token_id": 2,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e6,
            "rope_scaling": {"mrope_section": [2, 3, 3], "type": "mrope"},
            "tie_word_embeddings": False,
            "use_sliding_window": False,
            "sliding_window": 4096,
            "max_window_layers": 2,
            "vision_config": {
                "model_type": "qwen2_5_vl",
                "depth": 2,
                "hidden_size": HIDDEN,
                "intermediate_size": 128,
                "num_heads": 4,
                "out_hidden_size": HIDDEN,
                "patch_size": patch,
                "spatial_merge_size": 2,
                "spatial_patch_size": patch,
                "temporal_patch_size": 2,
                "tokens_per_second": 2,
                "window_size": 56,
                "fullatt_block_indexes": [1],
                "in_chans": 3,
                "in_channels": 3,
                "hidden_act": "silu",
            },
        },
        special=QWEN,
        tokens=QWEN_TOKENS,
        template=QWEN_TEMPLATE,
        image={
            **CLIP,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
            "min_pixels": 28 * 28,
            "max_pixels": 112 * 112,
            "patch_size": patch,
            "temporal_patch_size": 2,
            "merge_size": 2,
        },
        video={
            **CLIP,
            **RESCALED,
            "video_processor_type": "Qwen2VLVideoProcessor",
            "do_resize": True,
            "do_convert_rgb": True,
            "do_sample_frames": False,
            "merge_size": 2,
            "patch_size": patch,
            "temporal_patch_size": 2,
            "min_frames": 4,
            "max_frames": 768,
            "resample": BICUBIC,
            "size": {"shortest_edge": 28 * 28, "longest_edge": 112 * 112},
        },
        own_video_file=False,
        eos=("<|im_end|>", "<|endoftext|>"),
        slot="<|image_pad|>",
        around=("<|vision_start|>", "<|vision_end|>"),
    )


@family
def qwen2_vl() -> Family:
    """The first with M-RoPE."""
    made = qwen2_5_vl()
    vision = {
        "model_type": "qwen2_vl",
        "depth": 2,
        "embed_dim": HIDDEN,
        "hidden_size": HIDDEN,
        "mlp_ratio": 2,
        "num_heads": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
        "in_chans": 3,
        "in_channels": 3,
    }
    kind = {"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"], "vision_config": vision}
    image = {**made.image, "processor_class": "Qwen2VLProcessor"}
    return Family(**{**vars(made), "config": {**made.config, **kind}, "image": image})
