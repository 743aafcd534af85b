"""LFM2-VL and InternVL."""

from __future__ import annotations

from vision_family import BILINEAR, HALF, HIDDEN, RESCALED, TEXT, Family, family
from vision_llava import PLAIN


@family
def lfm2_vl() -> Family:
    """Siglip 2 with packed patches; short convolutions in the text part."""
    patch = 16
    chat = (
        "{{- bos_token -}}{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\n' -}}"
        "{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
        "{%- for item in message['content'] -%}{%- if item['type'] == 'image' -%}{{- '<image>' -}}"
        "{%- elif item['type'] == 'text' -%}{{- item['text'] -}}{%- endif -%}{%- endfor -%}{%- endif -%}"
        "{{- '<|im_end|>\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
    )
    tiles = {
        "do_image_splitting": True,
        "downsample_factor": 2,
        "encoder_patch_size": patch,
        "max_image_tokens": 16,
        "max_pixels_tolerance": 2.0,
        "max_tiles": 4,
        "min_image_tokens": 4,
        "min_tiles": 2,
        "tile_size": 64,
        "use_thumbnail": True,
    }
    return Family(
        config={
            "model_type": "lfm2_vl",
            "architectures": ["Lfm2VlForConditionalGeneration"],
            "image_token_id": 4,
            **tiles,
            "projector_bias": True,
            "projector_hidden_act": "gelu",
            "projector_hidden_size": 128,
            "projector_use_layernorm": True,
            "tie_word_embeddings": True,
            "max_num_patches": 64,
            "use_image_special_tokens": True,
            "vision_feature_layer": -1,
            "eos_token_id": 3,
            "text_config": {
                **TEXT,
                "model_type": "lfm2",
                "block_auto_adjust_ff_dim": False,
                "block_dim": HIDDEN,
                "block_ff_dim": 128,
                "block_ffn_dim_multiplier": 1.0,
                "block_multiple_of": 256,
                "conv_L_cache": 3,
                "conv_bias": False,
                "conv_dim": HIDDEN,
                "layer_types": ["conv", "full_attention"],
                "full_attn_idxs": [1],
                "norm_eps": 1e-5,
                "rope_theta": 1e6,
                "bos_token_id": 1,
                "eos_token_id": 3,
                "pad_token_id": 0,
                "tie_word_embeddings": True,
            },
            "vision_config": {
                "model_type": "siglip2_vision_model",
                "hidden_size": HIDDEN,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_channels": 3,
                "num_patches": 16,
                "patch_size": patch,
                "layer_norm_eps": 1e-6,
                "hidden_act": "gelu_pytorch_tanh",
                "vision_use_head": False,
                "attention_dropout": 0.0,
            },
        },
        special=(
            "<|pad|>",
            "<|startoftext|>",
            "<|im_start|>",
            "<|im_end|>",
            "<image>",
            "<|image_start|>",
            "<|image_end|>",
            "<|img_thumbnail|>",
            *(f"<|img_row_{row}_col_{column}|>" for row in range(1, 5) for column in range(1, 5)),
        ),
        tokens={
            **PLAIN,
            "bos_token": "<|startoftext|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|pad|>",
            "unk_token": None,
            "extra_special_tokens": {
                "image_token": "<image>",
                "image_start_token": "<|image_start|>",
                "image_end_token": "<|image_end|>",
                "image_thumbnail": "<|img_thumbnail|>",
            },
        },
        template=chat,
        image={
            **HALF,
            **RESCALED,
            **tiles,
            "image_processor_type": "Lfm2VlImageProcessorFast",
            "processor_class": "Lfm2VlProcessor",
            "do_resize": True,
            "do_pad": True,
            "resample": BILINEAR,
            "size": {"height": 64, "width": 64},
            "max_num_patches": 64,
            "return_row_col_info": True,
        },
        processor={"processor_class": "Lfm2VlProcessor", "use_image_special_tokens": True},
        eos=("<|im_end|>",),
    )


@family
def internvl() -> Family:
    """InternVL in transformers' own layout: tiles, pixels shuffled."""
    side, patch = 56, 14
    return Family(
        config={
            "model_type": "internvl",
            "architectures": ["InternVLForConditionalGeneration"],
            "image_token_id": 5,
            "image_seq_length": 4,
            "downsample_ratio": 0.5,
            "projector_hidden_act": "gelu",
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
            "tie_word_embeddings": False,
            "text_config": {
                **TEXT,
                "model_type": "qwen3",
                "head_dim": 32,
                "rms_norm_eps": 1e-6,
                "rope_theta": 1e6,
                "bos_token_id": 0,
                "eos_token_id": 2,
                "tie_word_embeddings": False,
                "use_sliding_window": False,
                "attention_bias": False,
            },
            "vision_config": {
                "model_type": "internvl_vision",
                "hidden_size": HIDDEN,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": [side, side],
                "patch_size": [patch, patch],
                "attention_bias": True,
                "use_qk_norm": False,
                "norm_type": "layer_norm",
                "layer_norm_eps": 1e-6,
                "use_absolute_position_embeddings": True,
                "use_mean_pooling": True,
                "layer_scale_init_value": 0.1,
            },
        },
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        tokens={
            **PLAIN,
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "extra_special_tokens": {
                "start_image_token": "<img>",
                "end_image_token": "</img>",
                "context_image_token": "<IMG_CONTEXT>",
                "video_token": "<video>",
            },
        },
        template=(
            "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
            "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
            "{% for content in message['content'] %}{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
            "{% elif content['type'] == 'video' %}{{ '<video>\n' }}{% elif content['type'] == 'text' %}"
            "{{ content['text'] }}{% endif %}{% endfor %}{% endif %}{{'<|im_end|>\n'}}{% endfor %}"
            "{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
        ),
        image={
            **RESCALED,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
            "image_processor_type": "GotOcr2ImageProcessorFast",
            "processor_class": "InternVLProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "resample": 3,
            "crop_to_patches": True,
            "min_patches": 1,
            "max_patches": 12,
            "size": {"height": side, "width": side},
        },
        processor={"processor_class": "InternVLProcessor", "image_seq_length": 4},
        video={
            **RESCALED,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
            "video_processor_type": "InternVLVideoProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "resample": 3,
            "size": {"height": side, "width": side},
        },
        eos=("<|im_end|>",),
        slot="<IMG_CONTEXT>",
    )
