"""The pictures that models are asked about: what is drawn, the file of it, and what counts as a right answer."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import pytest

from mlx_publish.chat.drawing import Canvas
from mlx_publish.chat.media import Medium, asked_in
from mlx_publish.chat.pictures import PICTURES, SIZE, Picture

ASKED = {medium.name: medium for medium in asked_in(PICTURES)}
ALL = {**ASKED, PICTURES[-1].other.name: PICTURES[-1].other}
RED, BLUE, WHITE, BLACK = (220, 20, 20), (20, 40, 220), (255, 255, 255), (0, 0, 0)


def read(png: bytes) -> tuple[int, int, bytes]:
    """Return width, height and the pixels of a PNG file of a palette, after its specification."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks = dict(_chunks(png[8:]))
    width, height, bits, kind, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert kind == 3
    assert chunks[b"IEND"] == b""
    data, line = zlib.decompress(chunks[b"IDAT"]), (width * bits + 7) // 8
    palette = [chunks[b"PLTE"][at : at + 3] for at in range(0, len(chunks[b"PLTE"]), 3)]
    pixels = b""
    for row in range(height):
        begin = row * (line + 1)
        assert data[begin] == 0
        number = int.from_bytes(data[begin + 1 : begin + 1 + line], "big")
        shifts = (8 * line - bits * (column + 1) for column in range(width))
        pixels += b"".join(palette[number >> shift & (1 << bits) - 1] for shift in shifts)
    assert len(data) == height * (line + 1)
    return width, height, pixels


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while data:
        length, kind = struct.unpack(">I4s", data[:8])
        content, check = data[8 : 8 + length], data[8 + length : 12 + length]
        assert struct.unpack(">I", check)[0] == zlib.crc32(kind + content)
        yield kind, content
        data = data[12 + length :]


def drawn(name: str) -> Canvas:
    """Return what a picture shows."""
    picture = ALL[name]
    assert isinstance(picture, Picture)
    return picture.draw()


def colour(name: str, x: float, y: float) -> tuple[int, ...]:
    """Return the colour at a place, in shares of the picture's width and height."""
    canvas = drawn(name)
    return canvas.palette[canvas.rows[int(y * SIZE)][int(x * SIZE)]]


@pytest.mark.parametrize("name", ALL)
def test_a_file_holds_the_very_pixels_that_were_drawn(name: str) -> None:
    canvas = drawn(name)
    assert read(ALL[name].file()) == (SIZE, SIZE, canvas.pixels())
    assert ALL[name].file() == ALL[name].file()


def test_a_width_that_fills_no_byte_and_a_file_of_many_blocks_can_be_read() -> None:
    small = Canvas(5, (WHITE, RED, BLUE))
    small.rectangle(1, 0, 4, 2, 1)
    small.rectangle(4, 4, 9, 9, 2)
    assert read(small.png()) == (5, 5, small.pixels())
    large = Canvas(1200, (WHITE, RED))
    large.disc(600, 600, 500, 1)
    assert read(large.png())[2] == large.pixels()


def test_more_colours_than_a_file_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="5 colours, of which a picture has 4 at most"):
        Canvas(8, (WHITE, RED, BLUE, BLACK, (1, 2, 3)))


def test_the_circle_is_left_and_the_square_right_and_the_other_picture_swaps_their_colours_alone() -> None:
    for name, left, right in (("shapes", RED, BLUE), ("shapes-other", BLUE, RED)):
        assert colour(name, 0.25, 0.5) == left
        assert colour(name, 0.75, 0.5) == right
        assert colour(name, 0.09, 0.34) == WHITE  # a corner that a square would fill
        assert colour(name, 0.59, 0.34) == right
        assert colour(name, 0.5, 0.5) == WHITE


def test_the_bar_that_a_right_answer_names_is_the_highest_that_is_drawn() -> None:
    for name, place in (("chart", 1), ("chart-other", 2)):
        heights = [
            sum(colour(name, (2 * bar + 1) / 6, row / 100) == BLUE for row in range(0, 100, 5)) for bar in range(3)
        ]
        assert heights.index(max(heights)) == place
        assert ASKED[name].right == (("oak", "pine", "elm")[place],)


def test_the_words_are_drawn_letter_by_letter_within_the_picture() -> None:
    rows = drawn("words").rows
    squares = ["".join(".#"[pixel] for pixel in row[::8]) for row in rows[::8]]
    lines = ["".join(row).strip(".") for row in squares if "#" in row]
    # R I V E R, seven rows of five pixels each.
    assert lines[0] == "####...###..#...#.#####.####"
    assert len(lines) == 21
    assert all(not row[0] and not row[-1] for row in rows)


@pytest.mark.parametrize(
    ("name", "answer", "right"),
    [
        ("shapes", "Red", True),
        ("shapes", "The shape on the left is **red**; the square is blue.", True),
        ("shapes", "blue", False),
        ("shapes", "A coloured shape", False),
        ("shapes", "", False),
        ("shapes-other", "Blue.", True),
        ("shapes-other", "red", False),
        ("words", "RIVER\nLEMON\nCHAIR", True),
        ("words", "The words are: chair, Lemon and 'River'.", True),
        ("words", "RIVER LEMON", False),
        ("words-other", "RIVER LEMON CHAIR", False),
        ("chart", "PINE", True),
        ("chart", "The Pine bar is higher than Oak and Elm.", True),
        ("chart", "Pineapple", False),
        ("chart-other", "It is ELM.", True),
        ("chart-other", "Pine", False),
    ],
)
def test_an_answer_is_right_by_what_it_names_first_or_where_it_has_all_words(
    name: str, answer: str, right: bool
) -> None:
    assert ASKED[name].answered(answer) is right


def test_an_answer_that_ignores_the_picture_cannot_be_right_of_both_pictures_of_a_subject() -> None:
    for contrast in PICTURES:
        if contrast.plain:
            continue
        both: list[Medium] = [contrast.one, contrast.other]
        for one, other in (both, both[::-1]):
            answer = " ".join(one.right)
            assert one.answered(answer)
            assert not other.answered(answer)
        assert contrast.one.question == contrast.other.question
