"""LLaVA-OneVision and GLM-OCR."""

from __future__ import annotations

from vision_family import BICUBIC, CLIP, HALF, HIDDEN, RESCALED, TEXT, Dict, Family, family
from vision_qwen import QWEN_TOKENS


@family
def llava_onevision() -> Family:
    """Siglip's last layer, tiles of any shape, a learned token at the end of a row; Qwen2 behind it."""
    side, patch = 56, 14
    pinpoints = [[side * high, side * wide] for high in (1, 2, 3) for wide in (1, 2, 3)]
    square = {"height": side, "width": side}
    template = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}"
        "{% if message['content'] is string %}{{ '\n' + message['content'] }}{% else %}"
        "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
        "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}"
        "{% endfor %}{% endif %}{{'<|im_end|>'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    return Family(
        config={
            "model_type": "llava_onevision",
            "architectures": ["LlavaOnevisionForConditionalGeneration"],
            "image_token_index": 4,
            "video_token_index": 5,
            "image_grid_pinpoints": pinpoints,
            "projector_hidden_act": "gelu",
            "vision_aspect_ratio": "anyres_max_9",
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "use_image_newline_parameter": True,
            "tie_word_embeddings": False,
            "text_config": {
                **TEXT,
                "model_type": "qwen2",
                "rope_theta": 1e6,
                "rms_norm_eps": 1e-6,
                "tie_word_embeddings": False,
                "use_sliding_window": False,
                "bos_token_id": 0,
                "eos_token_id": 2,
            },
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": HIDDEN,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": side,
                "patch_size": patch,
                "vision_use_head": False,
            },
        },
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>", "<image>", "<video>"),
        tokens=QWEN_TOKENS,
        template=template,
        image={
            **HALF,
            **RESCALED,
            "image_processor_type": "LlavaOnevisionImageProcessor",
            "processor_class": "LlavaOnevisionProcessor",
            "do_convert_rgb": True,
            "do_pad": True,
            "do_resize": True,
            "resample": BICUBIC,
            "image_grid_pinpoints": pinpoints,
            "size": square,
        },
        processor={
            "processor_class": "LlavaOnevisionProcessor",
            "image_token": "<image>",
            "video_token": "<video>",
            "num_image_tokens": (side // patch) ** 2,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
        },
        video={
            **HALF,
            **RESCALED,
            "video_processor_type": "LlavaOnevisionVideoProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "resample": BICUBIC,
            "size": square,
        },
        eos=("<|im_end|>",),
    )


@family
def glm_ocr() -> Family:
    """A grid of merged patches, M-RoPE of all of a head; its settings take no key that they do not know."""
    patch, side = 14, 112
    vision: Dict = {
        "model_type": "glm_ocr_vision",
        "depth": 2,
        "hidden_size": HIDDEN,
        "intermediate_size": 128,
        "num_heads": 4,
        "patch_size": patch,
        "out_hidden_size": HIDDEN,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "in_channels": 3,
        "image_size": side,
        "rms_norm_eps": 1e-5,
        "attention_bias": True,
        "hidden_act": "silu",
    }
    image = {
        **CLIP,
        "do_rescale": True,
        "image_processor_type": "Glm46VImageProcessor",
        "processor_class": "Glm46VProcessor",
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": side * side // 4, "longest_edge": side * side * 2},
    }
    video = {key: value for key, value in image.items() if key != "image_processor_type"}
    return Family(
        config={
            "model_type": "glm_ocr",
            "architectures": ["GlmOcrForConditionalGeneration"],
            "image_start_token_id": 4,
            "image_end_token_id": 5,
            "video_start_token_id": 6,
            "video_end_token_id": 7,
            "image_token_id": 8,
            "video_token_id": 9,
            "tie_word_embeddings": False,
            "text_config": {
                **TEXT,
                "model_type": "glm_ocr_text",
                "head_dim": 32,
                "hidden_act": "silu",
                "eos_token_id": [0, 2],
                "pad_token_id": 0,
                "rms_norm_eps": 1e-5,
                "rope_parameters": {
                    "rope_type": "default",
                    "mrope_section": [4, 6, 6],
                    "partial_rotary_factor": 1.0,
                    "rope_theta": 1e4,
                },
                "tie_word_embeddings": False,
            },
            "vision_config": vision,
        },
        special=(
            "<|endoftext|>",
            "[gMASK]",
            "<|user|>",
            "<|assistant|>",
            "<|begin_of_image|>",
            "<|end_of_image|>",
            "<|begin_of_video|>",
            "<|end_of_video|>",
            "<|image|>",
            "<|video|>",
        ),
        tokens={
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None,
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
        },
        template=(
            "[gMASK]{%- for message in messages %}{{ '<|' + message.role + '|>\n' }}"
            "{%- if message.content is string %}{{- message.content }}{%- else %}{%- for item in message.content %}"
            "{%- if item.type == 'image' %}{{- '<|begin_of_image|><|image|><|end_of_image|>' }}"
            "{%- elif item.type == 'text' %}{{- item.text }}{%- endif %}{%- endfor %}{%- endif %}{%- endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
        ),
        image=image,
        video={**video, "video_processor_type": "Glm46VVideoProcessor"},
        eos=("<|endoftext|>", "<|user|>"),
        slot="<|image|>",
        around=("<|begin_of_image|>", "<|end_of_image|>"),
    )
