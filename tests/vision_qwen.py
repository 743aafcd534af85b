"""Qwen: patches of any grid, positions in three dimensions."""

from __future__ import annotations

from vision_family import BICUBIC, HALF, HIDDEN, RESCALED, TEXT, Dict, Family, family

QWEN = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
QWEN_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for content in message.content %}
            {%- if content.type == 'image' or 'image' in content or 'image_url' in content %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif content.type == 'video' or 'video' in content %}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' }}
            {%- elif 'text' in content %}
                {{- content.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
QWEN_TOKENS = {
    "tokenizer_class": "Qwen2Tokenizer",
    "add_bos_token": False,
    "bos_token": None,
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "unk_token": None,
}


def qwen_video(patch: int, kind: str) -> Dict:
    """video_preprocessor_config.json."""
    return {
        **HALF,
        **RESCALED,
        "video_processor_type": kind,
        "do_resize": True,
        "do_sample_frames": True,
        "fps": 2,
        "merge_size": 2,
        "patch_size": patch,
        "temporal_patch_size": 2,
        "resample": BICUBIC,
        "min_frames": 4,
        "max_frames": 768,
        "size": {"shortest_edge": 4096, "longest_edge": 25165824},
    }


@family
def qwen3_vl() -> Family:
    """Pictures of any shape as a grid of merged patches, interleaved M-RoPE, features added to the first layer."""
    patch = 16
    return Family(
        config={
            "model_type": "qwen3_vl",
            "architectures": ["Qwen3VLForConditionalGeneration"],
            "image_token_id": 6,
            "video_token_id": 7,
            "vision_start_token_id": 3,
            "vision_end_token_id": 4,
            "tie_word_embeddings": True,
            "text_config": {
                **TEXT,
                "model_type": "qwen3_vl_text",
                "head_dim": 32,
                "hidden_act": "silu",
                "eos_token_id": 2,
                "bos_token_id": 0,
                "rms_norm_eps": 1e-6,
                "tie_word_embeddings": True,
                "rope_theta": 5e6,
                "rope_scaling": {"mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default"},
            },
            "vision_config": {
                "model_type": "qwen3_vl",
                "deepstack_visual_indexes": [0],
                "depth": 2,
                "hidden_size": HIDDEN,
                "intermediate_size": 128,
                "num_heads": 4,
                "out_hidden_size": HIDDEN,
                "num_position_embeddings": 16,
                "patch_size": patch,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "in_channels": 3,
                "hidden_act": "gelu_pytorch_tanh",
            },
        },
        special=QWEN,
        tokens=QWEN_TOKENS,
        template=QWEN_TEMPLATE,
        image={
            **HALF,
            "image_processor_type": "Qwen2VLImageProcessorFast",
            "processor_class": "Qwen3VLProcessor",
            "size": {"longest_edge": 112 * 112, "shortest_edge": 32 * 32},
            "patch_size": patch,
            "temporal_patch_size": 2,
            "merge_size": 2,
        },
        video=qwen_video(patch, "Qwen3VLVideoProcessor"),
        eos=("<|im_end|>", "<|endoftext|>"),
        slot="<|image_pad|>",
        around=("<|vision_start|>", "<|vision_end|>"),
    )


@family
def qwen3_5() -> Family:
    """Linear attention beside full one."""
    made, patch = qwen3_vl(), 16
    text = {
        **TEXT,
        "model_type": "qwen3_5_text",
        "head_dim": 32,
        "hidden_act": "silu",
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_value_head_dim": 32,
        "eos_token_id": 2,
        "attn_output_gate": True,
        "attention_bias": False,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "mamba_ssm_dtype": "float32",
        "rope_parameters": {
            "mrope_interleaved": True,
            "mrope_section": [2, 1, 1],
            "rope_type": "default",
            "rope_theta": 1e7,
            "partial_rotary_factor": 0.25,
        },
    }
    vision = {**made.config["vision_config"], "model_type": "qwen3_5", "deepstack_visual_indexes": []}
    kind = {
        "model_type": "qwen3_5",
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "text_config": text,
        "vision_config": vision,
    }
    return Family(
        **{**vars(made), "config": {**made.config, **kind}, "video": qwen_video(patch, "Qwen3VLVideoProcessor")}
    )
