"""Tiny models that talk in the manner of well-known ones: their marks, their rules and their template's quirks.

A template in chat/ is written anew and does what the original does, with other words where the original explains
tools to the model or introduces itself.
"""

# ruff: noqa: RUF001 -- the broad bars are DeepSeek's

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, processors

from models import MISSING, make_model
from tiny_tokenizer import build_tokenizer, write_json

LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>", "unk_token": "<unk>"}


@dataclass(frozen=True)
class Manner:
    """One way of talking; its template is the file of its name."""

    name: str
    arch: str
    names: dict[str, str]
    """The special tokens that have a name, as tokenizer_config.json has them."""
    marks: tuple[str, ...] = ()
    """The other special tokens that the template uses, or that may end an answer."""
    plain: tuple[str, ...] = ()
    """Tokens of their own that a decoder shows: added, but not special."""
    ends: tuple[str, ...] = ()
    """What generation_config.json lets end an answer, where that is more than config.json's `eos_token`."""
    begins: bool = False
    """The tokenizer puts `bos_token` before a text; in a dialogue only the template does."""

    @property
    def template(self) -> str:
        """The text of the chat template."""
        return (Path(__file__).parent / "chat" / f"{self.name}.jinja").read_text(encoding="utf-8")

    @property
    def special(self) -> tuple[str, ...]:
        """All special tokens; the place of each is its id."""
        return tuple(dict.fromkeys((*self.names.values(), *self.marks)))

    def tokenizer(self) -> Tokenizer:
        """One like tiny_tokenizer's, with this manner's tokens in the place of ChatML's."""
        made = build_tokenizer(special=self.special)
        made.add_tokens([AddedToken(token, normalized=False, special=False) for token in self.plain])
        if self.begins:
            begin = self.names["bos_token"]
            made.post_processor = processors.TemplateProcessing(
                single=f"{begin} $A", special_tokens=[(begin, made.token_to_id(begin))]
            )
        return made


_MANNERS = (
    # Its marks are no tokens: the tokenizer is the base model's.
    Manner("danube2", "mistral", LLAMA, begins=True),
    Manner(
        "gemma2", "gemma2",
        {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"},
        ("<start_of_turn>", "<end_of_turn>"), ends=("<eos>", "<end_of_turn>"), begins=True,
    ),
    Manner(
        "mistral", "mistral", {key: LLAMA[key] for key in ("unk_token", "bos_token", "eos_token")},
        ("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
         "[/TOOL_RESULTS]"), begins=True,
    ),
    Manner("chatml", "qwen2", {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}, ("<|im_start|>",)),
    Manner(
        "smollm2", "llama",
        {"unk_token": "<|endoftext|>", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
         "pad_token": "<|im_end|>"},
    ),
    Manner(
        "llama3", "llama", {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        ("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"),
        ends=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"), begins=True,
    ),
    Manner(
        "qwen3", "qwen3", {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}, ("<|im_start|>",),
        ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
        ends=("<|im_end|>", "<|endoftext|>"),
    ),
    Manner(
        "phi3", "phi3", {**LLAMA, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        ("<|assistant|>", "<|system|>", "<|end|>", "<|user|>"), ends=("<|endoftext|>", "<|assistant|>", "<|end|>"),
    ),
    Manner(
        "deepseek_r1", "llama",
        {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>",
         "pad_token": "<｜end▁of▁sentence｜>"},
        plain=("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>",
               *(f"<｜tool▁{what}▁{end}｜>" for what in ("calls", "call", "outputs", "output") for end in ("begin", "end")),
               "<｜tool▁sep｜>"), begins=True,
    ),
    # Nothing but the end token ends an answer, and the template does not write it.
    Manner("solar", "llama", LLAMA, begins=True),
    # The head of the answer stands at the end of every prompt.
    Manner(
        "command_a", "llama",
        {"bos_token": "<BOS_TOKEN>", "eos_token": "<|END_OF_TURN_TOKEN|>", "pad_token": "<PAD>", "unk_token": "<UNK>"},
        ("<|START_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|START_RESPONSE|>",
         "<|END_RESPONSE|>", "<|START_ACTION|>", "<|END_ACTION|>"), begins=True,
    ),
    # It changes a list, which the sandbox refuses, where there are calls.
    Manner(
        "kimi_k2", "llama", {"bos_token": "[BOS]", "eos_token": "<|im_end|>", "pad_token": "[PAD]", "unk_token": "[UNK]"},
        ("<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|tool_call_begin|>",
         "<|tool_call_argument_begin|>", "<|tool_call_end|>"), plain=("<think>",),
    ),
)  # fmt: skip
MANNERS = {manner.name: manner for manner in _MANNERS}


def write_chat_model(folder: Path, manner: str) -> Path:
    """Make a random model in the new `folder` that talks in a manner of MANNERS."""
    chosen = MANNERS[manner]
    ids = {f"{key}_id": chosen.special.index(token) for key, token in chosen.names.items() if key != "unk_token"}
    make_model(
        folder,
        chosen.arch,
        chat_template=chosen.template,
        tokenizer=chosen.tokenizer(),
        names=chosen.names,
        generation_config=False,
        config={"bos_token_id": MISSING, "pad_token_id": MISSING, **ids},
    )
    ends = {"eos_token_id": [chosen.special.index(token) for token in chosen.ends]} if chosen.ends else {}
    write_json(folder / "generation_config.json", {"_from_model_config": True, **ids, **ends})
    return folder
