"""The pictures that a model is asked about, with their questions and what a right answer says.

Of each subject there are two that differ only in what is asked, so an answer that looks is told from one that does not;
a plain gray one shows how far a model is moved by seeing anything at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlx_publish.chat.drawing import LETTER, Canvas, Colour
from mlx_publish.chat.media import Contrast, Medium

SIZE = 448
"""Pixels of both sides."""
_WHITE, _BLACK, _GRAY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
_RED, _BLUE = (220, 20, 20), (20, 40, 220)
_BARS = ("OAK", "PINE", "ELM")


@dataclass(frozen=True)
class Picture(Medium):
    """A picture with its question."""

    kind: ClassVar[str] = "picture"
    ending: ClassVar[str] = "png"
    draw: Callable[[], Canvas]

    def file(self) -> bytes:
        """Return it as a PNG file."""
        return self.draw().png()


def _shapes(left: Colour, right: Colour) -> Canvas:
    canvas = Canvas(SIZE, (_WHITE, left, right))
    canvas.disc(SIZE // 4, SIZE // 2, SIZE * 5 // 28, 1)
    canvas.rectangle(SIZE * 4 // 7, SIZE * 9 // 28, SIZE * 13 // 14, SIZE * 19 // 28, 2)
    return canvas


def _words(words: Sequence[str]) -> Canvas:
    canvas = Canvas(SIZE, (_WHITE, _BLACK))
    enlarged, line = SIZE // 56, SIZE // len(words)
    for number, word in enumerate(words):
        canvas.text(SIZE // 2, number * line + (line - enlarged * LETTER[1]) // 2, word, enlarged, 1)
    return canvas


def _chart(heights: Sequence[int]) -> Canvas:
    """Draw a bar for each height, in hundredths of the highest that there can be, with its name below."""
    canvas = Canvas(SIZE, (_WHITE, _BLACK, _BLUE))
    enlarged, column, floor = SIZE // 112, SIZE // len(_BARS), SIZE * 6 // 7
    for number, (name, height) in enumerate(zip(_BARS, heights, strict=True)):
        middle = number * column + column // 2
        canvas.rectangle(middle - column // 4, floor - height * SIZE * 5 // 700, middle + column // 4, floor, 2)
        canvas.text(middle, floor + (SIZE - floor - enlarged * LETTER[1]) // 2, name, enlarged, 1)
    canvas.rectangle(0, floor, SIZE, floor + enlarged, 1)
    return canvas


def _of_shapes(name: str, left: str, right: str) -> Picture:
    colours = {"red": _RED, "blue": _BLUE}
    return Picture(
        name,
        "What colour is the shape on the left? Answer with one word.",
        (left,),
        ("red", "blue"),
        f"a {left} circle on the left and a {right} square on the right",
        lambda: _shapes(colours[left], colours[right]),
    )


def _of_words(name: str, words: tuple[str, ...]) -> Picture:
    return Picture(
        name,
        "Which words are written in this picture? Answer with these words only.",
        tuple(word.casefold() for word in words),
        (),
        f"the words {', '.join(words)}",
        lambda: _words(words),
    )


def _of_chart(name: str, heights: tuple[int, ...]) -> Picture:
    highest = _BARS[heights.index(max(heights))]
    return Picture(
        name,
        "Which bar of this chart is the highest? Answer with its name.",
        (highest.casefold(),),
        tuple(bar.casefold() for bar in _BARS),
        f"a chart of three bars, {', '.join(_BARS)}, of which {highest} is the highest",
        lambda: _chart(heights),
    )


_SHAPES = _of_shapes("shapes", "red", "blue")
_GRAY_ONE = Picture("gray", _SHAPES.question, (), (), "nothing but gray", lambda: Canvas(SIZE, (_GRAY,)))
PICTURES: tuple[Contrast, ...] = (
    Contrast("shapes", _SHAPES, _of_shapes("shapes-other", "blue", "red")),
    Contrast(
        "words",
        _of_words("words", ("RIVER", "LEMON", "CHAIR")),
        _of_words("words-other", ("CANDLE", "HORSE", "PAPER")),
    ),
    Contrast("chart", _of_chart("chart", (40, 90, 60)), _of_chart("chart-other", (60, 40, 90))),
    Contrast("gray", _SHAPES, _GRAY_ONE),
)
"""Pairs of pictures whose difference an answer has to follow."""
