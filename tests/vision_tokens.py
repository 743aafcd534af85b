"""Small tokenizers for models that see: a byte-level one, and one with byte fallback as Gemma's.

Both know every byte, so that any text comes back whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

WORDS = ("the", " the", " a", " red", " blue", " circle", " square", " left", " of", " is", " in", "user", "model")
"""Each is one token, with the space before it."""


def byte_level(special: Sequence[str]) -> Tokenizer:
    """Special tokens first, as their order says, then 256 bytes, then the beginnings of the words."""
    merges = _merges(WORDS, "Ġ")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*special, *alphabet, *(left + right for left, right in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={name: id_ for id_, name in enumerate(names)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _with_special(tokenizer, special)


def byte_fallback(special: Sequence[str]) -> Tokenizer:
    """Special tokens, then bytes as `<0x0A>`, then ASCII with `▁` for the space, then the beginnings of the words."""
    merges = _merges(WORDS, "▁")
    letters = ["▁", *(chr(code) for code in range(0x21, 0x7F)), "\n"]
    names = [
        *special,
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *letters,
        *(left + right for left, right in merges),
    ]
    vocab = {name: id_ for id_, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _with_special(tokenizer, special)


def _merges(words: Sequence[str], space: str) -> list[tuple[str, str]]:
    spaced = [word.replace(" ", space) for word in words]
    return list(dict.fromkeys((word[:end], word[end]) for word in spaced for end in range(1, len(word))))


def _with_special(tokenizer: Tokenizer, special: Sequence[str]) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer
