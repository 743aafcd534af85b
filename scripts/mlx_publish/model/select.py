"""Which of a source's files are needed, and which travel to the converted model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mlx_publish.model.names import name_fault
from mlx_publish.model.quantized import SIDE_FILES

if TYPE_CHECKING:
    from mlx_publish.model.files import FileEntry

# What clients read beside weights and config.json; mlx-lm would write some of it anew, in other words.
TOKENIZER = frozenset({
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tiktoken.model",
    "chat_template.jinja", "chat_template.json",
})  # fmt: skip
PROCESSOR = frozenset({"preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"})
_LEGAL = re.compile(r"(licen[cs]e|notice|copying|use_policy|usage_policy|acceptable_use)", re.IGNORECASE)
# How the name of a legal text may end behind its last dot: as texts do, with a version as in 2.0, or with whose it is.
_TEXTS = frozenset({
    "txt", "text", "md", "markdown", "rst",
    "agpl", "apache", "apache2", "bsd", "gpl", "isc",
    "lesser", "lgpl", "lib", "mit", "mpl", "model", "code", "en", "zh",
})  # fmt: skip
_SIGNS = frozenset(" _.,()+-")
_CODE = (".py", ".pyc")  # a check of its own reports it
_EXTRA = re.compile(r"[\w-][\w.-]*\.tiktoken|additional_chat_templates/[\w-][\w.-]*\.jinja")
_NEEDED = frozenset({"config.json", "generation_config.json", "model.safetensors.index.json", *SIDE_FILES})


def is_legal(path: str) -> bool:
    """Return whether a file on top is by its name the text of a licence, a notice or a policy: an allow-list."""
    if not _LEGAL.match(path) or name_fault(path) or not all(map(_is_plain, path)):
        return False
    ending = path.rpartition(".")[2].lower() if "." in path else "txt"
    return ending in _TEXTS or (ending.isascii() and ending.isdigit())


def looks_legal(path: str) -> bool:
    """Return whether a file on top begins as a legal text does and is by its name something else, as LICENSE.html."""
    return bool(_LEGAL.match(path)) and "/" not in path and not is_legal(path) and not path.lower().endswith(_CODE)


def _is_plain(char: str) -> bool:
    """Return whether a character is a letter written from left to right that looks like no other, a digit or a sign."""
    if char.isascii():
        return char.isalnum() or char in _SIGNS
    return char.isalnum() and unicodedata.bidirectional(char) == "L" and unicodedata.normalize("NFKC", char) == char


def is_tokenizer(path: str) -> bool:
    """Return whether a file belongs to the tokenizer, extra chat templates and vocabularies included."""
    return path in TOKENIZER or (bool(_EXTRA.fullmatch(path)) and not name_fault(path))


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
