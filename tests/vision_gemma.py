"""Gemma and PaliGemma with Siglip, and Gemma 4 with towers of its own."""

from __future__ import annotations

from vision_family import BICUBIC, BILINEAR, HALF, HIDDEN, RESCALED, TEXT, Family, family

GEMMA = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
)
SIGLIP = ((r"^vision_tower\.", "vision_tower.vision_model."),)
GEMMA3_TEMPLATE = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
"""


@family
def gemma3() -> Family:
    """Siglip, pooled to a few soft tokens that see each other both ways."""
    side, patch = 128, 4
    return Family(
        config={
            "model_type": "gemma3",
            "architectures": ["Gemma3ForConditionalGeneration"],
            "boi_token_index": 7,
            "eoi_token_index": 8,
            "image_token_index": 9,
            "eos_token_id": [1, 6],
            "mm_tokens_per_image": 256,
            "text_config": {
                **TEXT,
                "model_type": "gemma3_text",
                "head_dim": 32,
                "query_pre_attn_scalar": 32,
                "sliding_window": 1024,
                "sliding_window_pattern": 2,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
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
        special=GEMMA,
        tokens={
            "tokenizer_class": "GemmaTokenizer",
            "add_bos_token": True,
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
            "extra_special_tokens": {
                "boi_token": "<start_of_image>",
                "eoi_token": "<end_of_image>",
                "image_token": "<image_soft_token>",
            },
        },
        template=GEMMA3_TEMPLATE,
        image={
            **HALF,
            **RESCALED,
            "image_processor_type": "Gemma3ImageProcessor",
            "processor_class": "Gemma3Processor",
            "do_convert_rgb": None,
            "do_pan_and_scan": None,
            "do_resize": True,
            "resample": BILINEAR,
            "image_seq_length": 256,
            "size": {"height": side, "width": side},
        },
        processor={"processor_class": "Gemma3Processor", "image_seq_length": 256},
        eos=("<eos>", "<end_of_turn>"),
        renamed=SIGLIP,
        fallback=True,
        slot="<start_of_image>",
    )


@family
def paligemma() -> Family:
    """Pictures first, prompt seen both ways."""
    side, patch = 56, 14
    return Family(
        config={
            "model_type": "paligemma",
            "architectures": ["PaliGemmaForConditionalGeneration"],
            "image_token_index": 9,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
            "hidden_size": HIDDEN,
            "projection_dim": HIDDEN,
            "vocab_size": TEXT["vocab_size"],
            "ignore_index": -100,
            "text_config": {
                **TEXT,
                "model_type": "gemma",
                "head_dim": 16,
                "num_image_tokens": (side // patch) ** 2,
                "hidden_act": "gelu_pytorch_tanh",
                "hidden_activation": "gelu_pytorch_tanh",
            },
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": HIDDEN,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": side,
                "patch_size": patch,
                "projection_dim": HIDDEN,
                "num_image_tokens": (side // patch) ** 2,
                "vision_use_head": False,
            },
        },
        special=(*GEMMA[:9], "<image>", *(f"<loc{place:04}>" for place in range(4))),
        tokens={
            "tokenizer_class": "GemmaTokenizer",
            "add_bos_token": True,
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
            "extra_special_tokens": {"image_token": "<image>"},
        },
        template=(
            "{{ bos_token }}{% for message in messages %}{% for item in message['content'] %}"
            "{% if item['type'] == 'image' %}{{ '<image>' }}{% else %}{{ item['text'] }}{% endif %}{% endfor %}"
            "{% endfor %}{{ '\n' }}"
        ),
        image={
            **HALF,
            **RESCALED,
            "image_processor_type": "SiglipImageProcessor",
            "processor_class": "PaliGemmaProcessor",
            "do_resize": True,
            "resample": BICUBIC,
            "image_seq_length": (side // patch) ** 2,
            "size": {"height": side, "width": side},
        },
        eos=("<eos>",),
        fallback=True,
        renamed=SIGLIP,
    )
