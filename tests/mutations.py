"""Documents that begin whole and are then made wrong: values of other kinds, of other sizes, twice, missing, nested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

# What stands where something else is expected, as JSON writes it.
ATOMS: tuple[str, ...] = (
    "null", "true", "false", "0", "1", "-1", "2", "0.5", "-0.0", "1e308", "-1e-320", "1e999", "NaN", "Infinity", "-Infinity",
    str(2**31), str(2**63), str(-(2**63) - 1), str(10**12), str(10**39), "9" * 400, "9" * 5000, "-" + "9" * 4400, "1" * 300 + ".5",
    '""', '" "', '"a"', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\u001b[31m"', '"\\r\\n::error::x"', '"\\u202e"', '"\\ufeff"', '"\u2028"',
    '"../../etc/passwd"', '"/dev/zero"', '"a/b"', '"4bit"', '"{source!r}"', '"' + "x" * 5000 + '"', '"' + "\u00e4" * 300 + '"', '"no"', '"./a\\u0000"', '"~\\u0000/x"', '"folder:a\\u0000"', '"folder:~\\u0000"', '"~nobody-is-called-so/x"', '"folder:../x"', '"1e5"',
    "[]", "{}", "[[]]", "[null]", '[1, "a", null, {}]', '{"": null}', '{"a": {"a": {"a": 1}}}', '{"\\u0000": 1}', '{"a": 1, "a": 2}',
    '{"a": 1, "a": 1}', "[" * 70 + "]" * 70, "[" * 3000 + "]" * 3000, '{"a":' * 70 + "1" + "}" * 70, "[" + "0," * 500 + "0]",
)  # fmt: skip
KEYS: tuple[str, ...] = ("", "a", "__metadata__", "\u0000", "\ud800", "x" * 300, "schema", "a.b", "[0]", "<<", "\n")


class Raw(str):
    """JSON as it is to be written."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may stand twice."""


def opened(value: object) -> Any:
    """The document with its objects as pairs, to be changed in place."""
    if isinstance(value, dict):
        return Pairs((key, opened(below)) for key, below in value.items())
    return [opened(below) for below in value] if isinstance(value, list) else value


def written(value: object) -> str:
    """The document as text."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {written(below)}" for key, below in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


def rooms(value: object) -> Iterator[Any]:
    """Every list and object that holds something."""
    if isinstance(value, list) and value:
        yield value
        for below in value:
            yield from rooms(below[1] if isinstance(value, Pairs) else below)


@st.composite
def texts(draw: st.DrawFn, document: object, most: int = 3) -> str:
    """JSON of the document after some changes."""
    found = opened(document)
    for _ in range(draw(st.integers(1, most))):
        places = list(rooms(found))
        if not places:
            break
        # Half of the changes are near the top, where a key decides the most.
        room = places[draw(st.one_of(st.just(0), st.integers(0, len(places) - 1)))]
        _change(draw, room)
    return written(found)


def _change(draw: st.DrawFn, room: Any) -> None:
    at = draw(st.integers(0, len(room) - 1))
    atom = Raw(draw(st.sampled_from(ATOMS)))
    deed = draw(st.sampled_from(["replace", "replace", "replace", "remove", "twice", "wrap", "rename", "add"]))
    (_change_object if isinstance(room, Pairs) else _change_list)(draw, room, at, deed, atom)


def _change_list(draw: st.DrawFn, room: Any, at: int, deed: str, atom: Raw) -> None:
    if deed == "remove":
        del room[at]
    elif deed in ("twice", "add"):
        room.insert(at, room[at] if deed == "twice" else atom)
    else:
        room[at] = [room[at]] if deed == "wrap" else atom


def _change_object(draw: st.DrawFn, room: Any, at: int, deed: str, atom: Raw) -> None:
    key, value = room[at]
    if deed == "replace":
        room[at] = (key, atom)
    elif deed == "remove":
        del room[at]
    elif deed == "twice":
        room.append((key, draw(st.sampled_from([value, atom]))))
    elif deed == "wrap":
        room[at] = (key, draw(st.sampled_from([[value], Pairs([("a", value)])])))
    elif deed == "rename":
        room[at] = (draw(st.sampled_from(KEYS)), value)
    else:
        room.append((draw(st.sampled_from(KEYS)), atom))


@st.composite
def contents(draw: st.DrawFn, document: object) -> bytes:
    """Bytes of the document: changed as data, and now and then cut, marked, or spoiled."""
    data = draw(texts(document)).encode("utf-8", "surrogatepass")
    deed = draw(st.sampled_from(["", "", "", "", "", "cut", "mark", "spoil", "utf-16", "zero"]))
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    if deed == "cut":
        return data[:at]
    if deed == "mark":
        return b"\xef\xbb\xbf" + data
    if deed == "spoil":
        return data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at:]
    if deed == "utf-16":
        return data.decode("utf-8", "replace").encode("utf-16")
    return data + b"\0" if deed == "zero" else data
