"""Idefics3 and SmolVLM: tiles, and the whole picture small."""

from __future__ import annotations

from vision_family import HALF, HIDDEN, LANCZOS, RESCALED, TEXT, Dict, Family, family

IDEFICS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)),
)
IDEFICS_TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}<|im_start|>{% endif %}{{message['role'] | capitalize}}"
    "{% if message['content'] is string %}: {{message['content']}}{% else %}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}{% endif %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def _idefics(name: str, kind: str, text: Dict) -> Family:
    side, patch = 56, 14
    return Family(
        config={
            "model_type": name,
            "architectures": [f"{kind}ForConditionalGeneration"],
            "image_token_id": 4,
            "scale_factor": 2,
            "pad_token_id": 0,
            "eos_token_id": 2,
            "bos_token_id": 1,
            "tie_word_embeddings": False,
            "text_config": {
                **TEXT,
                **text,
                "model_type": "llama",
                "head_dim": 16,
                "pad_token_id": 0,
                "eos_token_id": 2,
                "bos_token_id": 1,
                "rms_norm_eps": 1e-5,
                "rope_theta": 273768.0,
                "tie_word_embeddings": False,
            },
            "vision_config": {
                "model_type": f"{name}_vision" if name == "smolvlm" else name,
                "hidden_size": HIDDEN,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": side,
                "patch_size": patch,
            },
        },
        special=IDEFICS,
        tokens={
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": "<|im_start|>",
            "eos_token": "<end_of_utterance>",
            "pad_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "fake_image_token": "<fake_token_around_image>",
            "image_token": "<image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
        template=IDEFICS_TEMPLATE,
        image={
            **HALF,
            **RESCALED,
            "image_processor_type": f"{kind}ImageProcessor",
            "processor_class": f"{kind}Processor",
            "do_convert_rgb": True,
            "do_image_splitting": True,
            "do_pad": True,
            "do_resize": True,
            "max_image_size": {"longest_edge": side},
            "resample": LANCZOS,
            "size": {"longest_edge": 2 * side},
        },
        processor={"processor_class": f"{kind}Processor", "image_seq_len": 4},
        eos=("<end_of_utterance>",),
    )


@family
def idefics3() -> Family:
    """A picture as tiles and a small whole; Llama behind it."""
    return _idefics("idefics3", "Idefics3", {})


@family
def smolvlm() -> Family:
    """Idefics3 for small machines."""
    made = _idefics("smolvlm", "SmolVLM", {})
    video = {
        **HALF,
        **RESCALED,
        "video_processor_type": "SmolVLMVideoProcessor",
        "do_convert_rgb": True,
        "do_pad": True,
        "do_resize": True,
        "do_sample_frames": True,
        "fps": 1,
        "num_frames": 64,
        "resample": LANCZOS,
        "max_image_size": {"longest_edge": 56},
        "size": {"longest_edge": 56},
    }
    return Family(**{**vars(made), "video": video})
