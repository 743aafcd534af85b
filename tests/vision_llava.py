"""A tower, a projector and a language model side by side: LLaVA, Mistral 3, InternVL."""

from __future__ import annotations

from vision_family import BICUBIC, CLIP, HIDDEN, RESCALED, TEXT, Dict, Family, family

LLAMA: Dict = {
    **TEXT,
    "model_type": "llama",
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "tie_word_embeddings": False,
    "head_dim": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
PLAIN: Dict = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
}
LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def _clip(side: int, patch: int) -> Dict:
    return {
        "model_type": "clip_vision_model",
        "hidden_size": HIDDEN,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": side,
        "patch_size": patch,
        "projection_dim": HIDDEN,
        "vocab_size": TEXT["vocab_size"],
    }


def _clip_image(side: int, kind: str) -> Dict:
    return {
        **CLIP,
        **RESCALED,
        "image_processor_type": f"{kind}ImageProcessor",
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": BICUBIC,
        "crop_size": {"height": side, "width": side},
        "size": {"shortest_edge": side},
    }


@family
def llava() -> Family:
    """CLIP's last but one layer without its class token."""
    side, patch = 56, 14
    return Family(
        config={
            "model_type": "llava",
            "architectures": ["LlavaForConditionalGeneration"],
            "image_token_index": 4,
            "ignore_index": -100,
            "pad_token_id": 0,
            "projector_hidden_act": "gelu",
            "image_seq_length": 16,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "tie_word_embeddings": False,
            "text_config": LLAMA,
            "vision_config": _clip(side, patch),
            "vocab_size": TEXT["vocab_size"],
        },
        special=("<pad>", "<s>", "</s>", "<unk>", "<image>"),
        tokens={**PLAIN, "extra_special_tokens": {"image_token": "<image>"}},
        template=LLAVA_TEMPLATE,
        image={**_clip_image(side, "CLIP"), "processor_class": "LlavaProcessor"},
        processor={
            "processor_class": "LlavaProcessor",
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": patch,
            "vision_feature_select_strategy": "default",
        },
        eos=("</s>",),
        renamed=((r"^vision_tower\.", "vision_tower.vision_model."),),
    )


@family
def llava_next() -> Family:
    """Tiles after the picture's shape, and a learned token at the end of a row."""
    side, patch = 56, 14
    pinpoints = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
    made = llava()
    own = {
        "model_type": "llava_next",
        "architectures": ["LlavaNextForConditionalGeneration"],
        "image_grid_pinpoints": pinpoints,
        "use_image_newline_parameter": True,
    }
    image = {
        **_clip_image(side, "LlavaNext"),
        "processor_class": "LlavaNextProcessor",
        "do_pad": True,
        "image_grid_pinpoints": pinpoints,
    }
    processor = {**made.processor, "processor_class": "LlavaNextProcessor", "patch_size": patch}
    return Family(**{**vars(made), "config": {**made.config, **own}, "image": image, "processor": processor})


@family
def mistral3() -> Family:
    """Pixtral: pictures of any shape, a break token after each row of patches; merged 2 by 2."""
    patch = 14
    template = (
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{% if message['content'] is string %}{{ '[INST]' + message['content'] + '[/INST]' }}{% else %}{{ '[INST]' }}"
        "{% for block in message['content'] %}{% if block['type'] == 'text' %}{{ block['text'] }}"
        "{% elif block['type'] in ['image', 'image_url'] %}{{ '[IMG]' }}{% endif %}{% endfor %}{{ '[/INST]' }}"
        "{% endif %}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
    )
    return Family(
        config={
            "model_type": "mistral3",
            "architectures": ["Mistral3ForConditionalGeneration"],
            "image_token_index": 4,
            "multimodal_projector_bias": False,
            "projector_hidden_act": "gelu",
            "spatial_merge_size": 2,
            "vision_feature_layer": -1,
            "tie_word_embeddings": False,
            "text_config": {
                **LLAMA,
                "model_type": "mistral",
                "head_dim": 32,
                "rope_theta": 1e9,
                "sliding_window": None,
                "hidden_act": "silu",
            },
            "vision_config": {
                "model_type": "pixtral",
                "hidden_size": HIDDEN,
                "head_dim": 16,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": 112,
                "patch_size": patch,
                "rope_theta": 1e4,
                "hidden_act": "silu",
                "num_channels": 3,
                "attention_dropout": 0.0,
            },
        },
        special=("<pad>", "<s>", "</s>", "<unk>", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[INST]", "[/INST]"),
        tokens={
            **PLAIN,
            "extra_special_tokens": {
                "image_token": "[IMG]",
                "image_break_token": "[IMG_BREAK]",
                "image_end_token": "[IMG_END]",
            },
        },
        template=template,
        image={
            **CLIP,
            **RESCALED,
            "image_processor_type": "PixtralImageProcessorFast",
            "processor_class": "PixtralProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "patch_size": patch,
            "resample": BICUBIC,
            "size": {"longest_edge": 112},
        },
        processor={
            "processor_class": "PixtralProcessor",
            "image_token": "[IMG]",
            "image_break_token": "[IMG_BREAK]",
            "image_end_token": "[IMG_END]",
            "patch_size": patch,
            "spatial_merge_size": 2,
        },
        eos=("</s>",),
        slot="[IMG]",
    )
