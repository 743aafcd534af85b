"""Pictures of flat colours: shapes and capital letters on a grid of pixels, and the PNG file of them.

The bytes of a file are the same on every machine: its pixels are stored, since zlib compresses differently by version.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

Colour = tuple[int, int, int]
LETTER = (5, 7)
"""Columns and rows of a letter, before it is enlarged."""
_BITS = 2  # per pixel in a file, which holds the number of a colour
_MOST_COLOURS = 1 << _BITS
_STORED = 65_535  # bytes that a stored block of deflate holds at most
_INDEXED = 3  # PNG's type of colour: numbers of a palette
# Seven rows of five pixels a letter, a row as a hexadecimal number with the leftmost pixel as its highest bit.
_LETTERS = {
    "A": "0E 11 11 1F 11 11 11",
    "B": "1E 11 11 1E 11 11 1E",
    "C": "0E 11 10 10 10 11 0E",
    "D": "1E 11 11 11 11 11 1E",
    "E": "1F 10 10 1E 10 10 1F",
    "F": "1F 10 10 1E 10 10 10",
    "G": "0E 11 10 17 11 11 0F",
    "H": "11 11 11 1F 11 11 11",
    "I": "0E 04 04 04 04 04 0E",
    "J": "07 02 02 02 02 12 0C",
    "K": "11 12 14 18 14 12 11",
    "L": "10 10 10 10 10 10 1F",
    "M": "11 1B 15 15 11 11 11",
    "N": "11 11 19 15 13 11 11",
    "O": "0E 11 11 11 11 11 0E",
    "P": "1E 11 11 1E 10 10 10",
    "Q": "0E 11 11 11 15 12 0D",
    "R": "1E 11 11 1E 14 12 11",
    "S": "0F 10 10 0E 01 01 1E",
    "T": "1F 04 04 04 04 04 04",
    "U": "11 11 11 11 11 11 0E",
    "V": "11 11 11 11 11 0A 04",
    "W": "11 11 11 15 15 1B 11",
    "X": "11 11 0A 04 0A 11 11",
    "Y": "11 11 0A 04 04 04 04",
    "Z": "1F 01 02 04 08 10 1F",
}


@dataclass
class Canvas:
    """A picture of `size` x `size` pixels, all of the first colour of its palette at the beginning."""

    size: int
    palette: tuple[Colour, ...]
    rows: list[bytearray] = field(init=False)
    """The number of a colour for each pixel, from the upper left."""

    def __post_init__(self) -> None:
        """Raise ValueError for more colours than a file holds."""
        if len(self.palette) > _MOST_COLOURS:
            raise ValueError(f"{len(self.palette)} colours, of which a picture has {_MOST_COLOURS} at most")
        self.rows = [bytearray(self.size) for _ in range(self.size)]

    def rectangle(self, left: int, top: int, right: int, bottom: int, colour: int) -> None:
        """Fill from `left` and `top` to just before `right` and `bottom`."""
        left, right = max(left, 0), min(right, self.size)
        for row in self.rows[max(top, 0) : max(bottom, 0)]:
            row[left:right] = bytes([colour]) * max(right - left, 0)

    def disc(self, x: int, y: int, radius: int, colour: int) -> None:
        """Fill a circle around (`x`, `y`)."""
        for down in range(-radius, radius + 1):
            half = int((radius * radius - down * down) ** 0.5)
            self.rectangle(x - half, y + down, x + half + 1, y + down + 1, colour)

    def text(self, x: int, y: int, words: str, enlarged: int, colour: int) -> None:
        """Write capital letters in one line, centred at `x` with their upper edge at `y`; KeyError for any other."""
        columns, _ = LETTER
        left = x - enlarged * (len(words) * (columns + 1) - 1) // 2
        for number, letter in enumerate(words):
            begin = left + number * (columns + 1) * enlarged
            for row, column in _pixels(letter):
                at_x, at_y = begin + column * enlarged, y + row * enlarged
                self.rectangle(at_x, at_y, at_x + enlarged, at_y + enlarged, colour)

    def pixels(self) -> bytes:
        """Return red, green and blue of each pixel, a byte each, row by row."""
        colours = [bytes(colour) for colour in self.palette]
        return b"".join(colours[number] for row in self.rows for number in row)

    def png(self) -> bytes:
        """Return the picture as a PNG file."""
        header = struct.pack(">IIBBBBB", self.size, self.size, _BITS, _INDEXED, 0, 0, 0)
        palette = b"".join(map(bytes, self.palette))
        data = b"".join(b"\0" + _packed(row) for row in self.rows)  # each line begins with its filter: none
        chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", _stored(data)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _pixels(letter: str) -> Iterator[tuple[int, int]]:
    """Yield row and column of each pixel that a letter has."""
    columns, _ = LETTER
    for row, number in enumerate(bytes.fromhex(_LETTERS[letter])) if letter != " " else ():
        yield from ((row, column) for column in range(columns) if number >> (columns - 1 - column) & 1)


def _packed(row: bytearray) -> bytes:
    """Return a line with its pixels in as many bits each, the left one highest in its byte."""
    many = 8 // _BITS
    filled = row + bytes(-len(row) % many)
    groups = (filled[start : start + many] for start in range(0, len(filled), many))
    return bytes(functools.reduce(lambda byte, pixel: byte << _BITS | pixel, group) for group in groups)


def _stored(data: bytes) -> bytes:
    """Return data as a zlib stream (RFC 1950, 1951) of stored blocks."""
    starts = range(0, len(data), _STORED)
    blocks = [data[start : start + _STORED] for start in starts]
    heads = (struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) for block in blocks)
    stored = b"".join(head + block for head, block in zip(heads, blocks, strict=True))
    return b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(data))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
