"""Llama 4: tiles of one size; experts in the text part."""

from __future__ import annotations

from vision_family import BILINEAR, HALF, HIDDEN, RESCALED, TEXT, Family, family

LLAMA4 = (
    "<|finetune_right_pad|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|eot|>",
    "<|image|>",
    "<|patch|>",
    "<|image_start|>",
    "<|image_end|>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
    "<|header_start|>",
    "<|header_end|>",
)


@family
def llama4() -> Family:
    """Tiles of one size, pixels shuffled; experts and layers without positions behind."""
    side, patch = 56, 14
    template = (
        "{{- bos_token }}{%- for message in messages %}"
        "{{- '<|header_start|>' + message['role'] + '<|header_end|>\n\n' }}"
        "{%- if message['content'] is string %}{{- message['content'] }}{%- else %}"
        "{%- for content in message['content'] %}{%- if content['type'] == 'image' %}{{- '<|image|>' }}"
        "{%- elif content['type'] == 'text' %}{{- content['text'] | trim }}{%- endif %}{%- endfor %}{%- endif %}"
        "{{- '<|eot|>' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|header_start|>assistant<|header_end|>\n\n' }}{%- endif %}"
    )
    return Family(
        config={
            "model_type": "llama4",
            "architectures": ["Llama4ForConditionalGeneration"],
            "boi_token_index": 6,
            "eoi_token_index": 7,
            "image_token_index": 5,
            "tie_word_embeddings": False,
            "text_config": {
                **TEXT,
                "model_type": "llama4_text",
                "head_dim": 32,
                "intermediate_size_mlp": 128,
                "num_hidden_layers": 4,
                "num_local_experts": 4,
                "num_experts_per_tok": 1,
                "interleave_moe_layer_step": 2,
                "no_rope_layers": [1, 1, 1, 0],
                "attention_chunk_size": 512,
                "attn_temperature_tuning": True,
                "floor_scale": 8192,
                "attn_scale": 0.1,
                "use_qk_norm": True,
                "rope_theta": 500000.0,
                "rope_scaling": None,
                "rms_norm_eps": 1e-5,
                "bos_token_id": 1,
                "eos_token_id": [2, 3],
                "pad_token_id": 0,
                "tie_word_embeddings": False,
                "hidden_act": "silu",
                "moe_layers": [1, 3],
                "attention_bias": False,
            },
            "vision_config": {
                "model_type": "llama4_vision_model",
                "hidden_size": HIDDEN,
                "image_size": side,
                "patch_size": patch,
                "initializer_range": 0.02,
                "intermediate_size": 256,
                "norm_eps": 1e-5,
                "num_attention_heads": 4,
                "num_channels": 3,
                "num_hidden_layers": 2,
                "pixel_shuffle_ratio": 0.5,
                "projector_dropout": 0.0,
                "projector_input_dim": 128,
                "projector_output_dim": 128,
                "rope_theta": 10000,
                "vision_feature_layer": -1,
                "vision_feature_select_strategy": "default",
                "vision_output_dim": 128,
                "hidden_act": "gelu",
                "attention_dropout": 0.0,
                "multi_modal_projector_bias": False,
            },
        },
        special=LLAMA4,
        tokens={
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot|>",
            "pad_token": "<|finetune_right_pad|>",
        },
        template=template,
        image={
            **HALF,
            **RESCALED,
            "image_processor_type": "Llama4ImageProcessorFast",
            "processor_class": "Llama4Processor",
            "do_convert_rgb": True,
            "do_resize": True,
            "max_patches": 4,
            "resample": BILINEAR,
            "resize_to_max_canvas": False,
            "size": {"height": side, "width": side},
        },
        processor={
            "processor_class": "Llama4Processor",
            "fake_image_token": "<|image|>",
            "image_token": "<|image|>",
            "patch_size": patch,
            "pixel_shuffle_ratio": 0.5,
            "start_of_image_token": "<|image_start|>",
            "end_of_image_token": "<|image_end|>",
            "patch_token": "<|patch|>",
            "tile_x_separator_token": "<|tile_x_separator|>",
            "tile_y_separator_token": "<|tile_y_separator|>",
        },
        eos=("<|end_of_text|>", "<|eot|>"),
        slot="<|image|>",
    )
