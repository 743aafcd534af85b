"""A real byte-level BPE tokenizer of 256 bytes, a few words and three special tokens; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

END_OF_TEXT, TURN_START, TURN_END = 0, 1, 2  # the ids of SPECIAL
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
NAMES = dict(zip(("pad_token", "bos_token", "eos_token"), SPECIAL, strict=True))
# Each is one token, with the space before it: enough for one sentence whose tokens all differ.
WORDS = ("The", " Moon", " passes", " in", " front", " of", " the", " Sun")

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build_tokenizer(words: Sequence[str] = WORDS, special: Sequence[str] = SPECIAL) -> Tokenizer:
    """The ids: special tokens, then bytes, then the beginnings of the words; each whole word is one token."""
    merges = list(dict.fromkeys(pair for word in words for pair in word_merges(word)))
    tokens = [
        *special,
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
        *(left + right for left, right in merges),
    ]
    vocab = {token: id_ for id_, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def word_merges(word: str) -> list[tuple[str, str]]:
    """The merges that make one token of ASCII `word`, letter by letter from the left."""
    letters = word.replace(" ", "Ġ")
    return [(letters[:end], letters[end]) for end in range(1, len(letters))]


def write_tokenizer(
    folder: Path, tokenizer: Tokenizer, chat_template: str | None = CHATML, names: Mapping[str, str] = NAMES
) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json; `names` are of special tokens."""
    tokenizer.save(str(folder / "tokenizer.json"))
    added = tokenizer.get_added_tokens_decoder()
    more = [token.content for token in added.values() if token.special and token.content != names.get("pad_token")]
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    config: dict[str, Any] = {
        "added_tokens_decoder": {
            str(id_): {"content": token.content, **flags, "special": token.special} for id_, token in added.items()
        },
        "additional_special_tokens": more,
        **names,
        "chat_template": chat_template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if chat_template is None:
        del config["chat_template"]
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", {"additional_special_tokens": more, **names})


def write_json(path: Path, content: object) -> None:
    """With two spaces, as Hugging Face writes its files."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
