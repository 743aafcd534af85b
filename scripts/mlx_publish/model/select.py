"""Which of a source's files are needed, and which travel to the converted model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mlx_publish.model.files import FileEntry

# What clients read beside weights and config.json; mlx-lm would write some of it anew, in other words.
TOKENIZER = frozenset({
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tiktoken.model",
    "chat_template.jinja", "chat_template.json",
})  # fmt: skip
PROCESSOR = frozenset({"preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"})
_LEGAL = re.compile(r"(licen[cs]e|notice|copying|use_policy|usage_policy|acceptable_use)[^/\n]*", re.IGNORECASE)
# Code and pickles, whatever they are called.
_NEVER = (".py", ".pyc", ".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".sh")
_EXTRA = re.compile(r"[\w-][\w.-]*\.tiktoken|additional_chat_templates/[\w-][\w.-]*\.jinja")
_NEEDED = frozenset({"config.json", "generation_config.json", "model.safetensors.index.json", "hf_quant_config.json"})


def is_legal(path: str) -> bool:
    """Tell whether a file on top is a licence, a notice or a policy."""
    return bool(_LEGAL.fullmatch(path)) and not path.lower().endswith(_NEVER)


def is_tokenizer(path: str) -> bool:
    """Tell whether a file belongs to the tokenizer, extra chat templates and vocabularies included."""
    return path in TOKENIZER or bool(_EXTRA.fullmatch(path))


def carried_files(entries: Iterable[str], weights: Iterable[str]) -> set[str]:
    """Return the files that conversion needs: the one set of weights, configs, tokenizer, legal texts, card."""
    chosen = {
        path
        for path in entries
        if path in _NEEDED or path in PROCESSOR or path == "README.md" or is_tokenizer(path) or is_legal(path)
    }
    return chosen | set(weights)


def side_files(entries: Mapping[str, FileEntry], *, text_alone: bool = False) -> set[str]:
    """Return the files that travel unchanged beside the converted weights; with text alone no processor does."""
    return {
        path
        for path in entries
        if is_tokenizer(path)
        or is_legal(path)
        or (path in PROCESSOR and not text_alone)
        or path == "generation_config.json"
    }
