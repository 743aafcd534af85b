"""Small integers that lie one behind the other in words of 32 bits, the first in the lowest bits, as numpy and as MLX.

Some formats let an integer cross from one word into the next, as GPTQ with 3 bits; others leave bits unused (`padded`).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

_WORD = 32


def span(first: int, last: int, bits: int, *, padded: bool = False) -> tuple[int, int, int]:
    """Return the first word that holds integers of a range, the one behind the last, and how many come before."""
    if padded:
        per_word = _WORD // bits
        return first // per_word, -(-last // per_word), first % per_word
    return first // _WORD * bits, -(-last * bits // _WORD), first % _WORD


def integers(words: NDArray[Any], bits: int, number: int, *, padded: bool = False) -> NDArray[np.uint8]:
    """Return the first integers of each row of words, (rows, number)."""
    words = np.ascontiguousarray(words).view(np.uint32)
    if 8 % bits == 0:
        return _of_bytes(words.view(np.uint8), bits)[:, :number]
    word, shift = _places(bits, number, padded=padded)
    values = words[:, word] >> shift
    crossing = shift + bits > _WORD
    values[:, crossing] |= words[:, word[crossing] + 1] << (_WORD - shift[crossing])
    return (values & ((1 << bits) - 1)).astype(np.uint8)


def _of_bytes(every: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    per_byte = 8 // bits
    values = np.empty((every.shape[0], every.shape[1] * per_byte), np.uint8)
    for place in range(per_byte):
        values[:, place::per_byte] = every >> (place * bits) & ((1 << bits) - 1)
    return values


def _places(bits: int, number: int, *, padded: bool) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
    """Return for each integer the word in which it begins, and its first bit there."""
    at = np.arange(number)
    start = at // (_WORD // bits) * _WORD + at % (_WORD // bits) * bits if padded else at * bits
    return start // _WORD, (start % _WORD).astype(np.uint32)


def mlx_integers(words: mx.array, bits: int, number: int, *, padded: bool = False) -> mx.array:
    """Return the first integers of each row of words as MLX computes them, int32 (rows, number)."""
    words, mask = words.view(mx.uint32), (1 << bits) - 1
    if _WORD % bits == 0:
        values = words[..., None] >> mx.arange(0, _WORD, bits, dtype=mx.uint32)
        return (values.reshape(words.shape[0], -1)[:, :number] & mask).astype(mx.int32)
    word, shift = _places(bits, number, padded=padded)
    low = words[:, mx.array(word)] >> mx.array(shift)
    following = mx.array(np.minimum(word + 1, words.shape[1] - 1))
    high = words[:, following] << mx.array((_WORD - shift) % _WORD)
    crossing = mx.array(shift + bits > _WORD)
    return (mx.where(crossing, low | high, low) & mask).astype(mx.int32)


def words_of(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint32]:
    """Return the words that hold the codes of each row, whose number is a multiple of 32: what MLX packs."""
    rows, columns = codes.shape
    turned = codes.reshape(rows, columns // _WORD, _WORD).astype(np.uint32)
    words = np.zeros((rows, columns // _WORD, bits), np.uint32)
    for at in range(_WORD):
        word, shift = divmod(at * bits, _WORD)
        words[..., word] |= turned[..., at] << shift
        if shift + bits > _WORD:
            words[..., word + 1] |= turned[..., at] >> (_WORD - shift)
    return words.reshape(rows, -1)
