"""Gemma 4: towers of its own for pictures and for sound."""

from __future__ import annotations

from vision_family import BICUBIC, HIDDEN, TEXT, Family, family

GEMMA4 = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<|turn>",
    "<turn|>",
    "<|image>",
    "<image|>",
    "<|image|>",
    "<|audio>",
    "<audio|>",
    "<|audio|>",
    "<|video|>",
)
GEMMA4_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{- '<|turn>' + role + '\n' -}}
    {%- if message['content'] is string -%}
        {{- message['content'] | trim -}}
    {%- else -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'text' -%}
                {{- item['text'] | trim -}}
            {%- elif item['type'] == 'image' -%}
                {{- '\n\n<|image|>\n\n' -}}
            {%- elif item['type'] == 'audio' -%}
                {{- '<|audio|>' -}}
            {%- elif item['type'] == 'video' -%}
                {{- '\n\n<|video|>\n\n' -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- '<turn|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|turn>model\n' -}}
{%- endif -%}
"""


@family
def gemma4() -> Family:
    """Patches of any grid with two-dimensional positions, a conformer that hears, layers that share keys."""
    patch, pooled, soft = 8, 3, 70
    named = {
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "image_token": "<|image|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
        "audio_token": "<|audio|>",
        "sot_token": "<|turn>",
        "eot_token": "<turn|>",
    }
    return Family(
        config={
            "model_type": "gemma4",
            "architectures": ["Gemma4ForConditionalGeneration"],
            "boi_token_id": 7,
            "eoi_token_id": 8,
            "image_token_id": 9,
            "boa_token_id": 10,
            "eoa_token_id": 11,
            "eoa_token_index": 11,
            "audio_token_id": 12,
            "video_token_id": 13,
            "eos_token_id": [1, 6],
            "tie_word_embeddings": True,
            "vision_soft_tokens_per_image": soft,
            "text_config": {
                **TEXT,
                "model_type": "gemma4_text",
                "num_hidden_layers": 4,
                "head_dim": 32,
                "global_head_dim": 64,
                "num_kv_shared_layers": 2,
                "hidden_size_per_layer_input": 64,
                "use_double_wide_mlp": True,
                "vocab_size_per_layer_input": TEXT["vocab_size"],
                "sliding_window": 512,
                "layer_types": ["sliding_attention", "full_attention"] * 2,
                "final_logit_softcapping": 30.0,
                "attention_k_eq_v": False,
                "num_global_key_value_heads": None,
                "enable_moe_block": False,
                "pad_token_id": 0,
                "eos_token_id": 1,
                "bos_token_id": 2,
                "tie_word_embeddings": True,
                "hidden_activation": "gelu_pytorch_tanh",
                "rms_norm_eps": 1e-6,
                "rope_parameters": {
                    "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1e6, "rope_type": "proportional"},
                    "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
                },
            },
            "vision_config": {
                "model_type": "gemma4_vision",
                "hidden_size": HIDDEN,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 32,
                "global_head_dim": 32,
                "patch_size": patch,
                "pooling_kernel_size": pooled,
                "position_embedding_size": 256,
                "use_clipped_linears": True,
                "standardize": False,
                "default_output_length": soft,
                "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"},
                "hidden_activation": "gelu_pytorch_tanh",
                "rms_norm_eps": 1e-6,
            },
            "audio_config": {
                "model_type": "gemma4_audio",
                "hidden_size": HIDDEN,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "subsampling_conv_channels": [128, 8],
                "conv_kernel_size": 5,
                "output_proj_dims": 96,
                "attention_chunk_size": 12,
                "attention_context_left": 13,
                "attention_context_right": 0,
                "attention_logit_cap": 50.0,
                "residual_weight": 0.5,
                "use_clipped_linears": True,
                "gradient_clipping": 1e10,
                "rms_norm_eps": 1e-6,
                "hidden_act": "silu",
            },
        },
        special=GEMMA4,
        tokens={
            "tokenizer_class": "GemmaTokenizer",
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
            "padding_side": "left",
            **named,
            "model_specific_special_tokens": named,
        },
        template=GEMMA4_TEMPLATE,
        processor={
            "processor_class": "Gemma4Processor",
            "image_seq_length": soft,
            "audio_seq_length": 750,
            "audio_ms_per_token": 40,
            "image_processor": {
                "image_processor_type": "Gemma4ImageProcessor",
                "do_convert_rgb": True,
                "do_normalize": False,
                "do_rescale": True,
                "do_resize": True,
                "image_mean": [0.0, 0.0, 0.0],
                "image_std": [1.0, 1.0, 1.0],
                "image_seq_length": soft,
                "max_soft_tokens": soft,
                "patch_size": patch,
                "pooling_kernel_size": pooled,
                "resample": BICUBIC,
                "rescale_factor": 1 / 255,
            },
            "feature_extractor": {
                "feature_extractor_type": "Gemma4AudioFeatureExtractor",
                "feature_size": 128,
                "sampling_rate": 16000,
                "padding_value": 0.0,
                "return_attention_mask": True,
                "frame_length": 320,
                "hop_length": 160,
                "frame_length_ms": 20.0,
                "hop_length_ms": 10.0,
                "min_frequency": 0.0,
                "max_frequency": 8000.0,
                "preemphasis": 0.0,
                "fft_overdrive": False,
                "dither": 0.0,
                "mel_floor": 0.001,
            },
            "video_processor": {
                "video_processor_type": "Gemma4VideoProcessor",
                "max_soft_tokens": soft,
                "num_frames": 32,
                "patch_size": patch,
                "pooling_kernel_size": pooled,
                "resample": BICUBIC,
                "rescale_factor": 1 / 255,
                "do_convert_rgb": True,
                "do_normalize": True,
                "do_rescale": True,
                "do_resize": True,
                "do_sample_frames": True,
                "image_mean": [0.0, 0.0, 0.0],
                "image_std": [1.0, 1.0, 1.0],
            },
        },
        eos=("<eos>", "<turn|>"),
        fallback=True,
        slot="<|image|>",
    )
