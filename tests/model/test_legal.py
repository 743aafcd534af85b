"""Legal files: texts by name, by size and by what they hold."""

from __future__ import annotations

import lzma
import pickle
from pathlib import Path

import pytest

from mlx_publish.model.files import FileEntry, FolderFiles, MemoryFiles
from mlx_publish.model.legal import LARGEST, read_legal, text_fault
from mlx_publish.model.select import is_legal, looks_legal

ROOT = Path(__file__).parents[2]
NAMES = ("LICENSE", "LICENCE", "license.txt", "LICENSE.md", "LICENSE-APACHE", "LICENSE-APACHE-2.0", "License-2.0", "NOTICE",
         "Notice.txt", "NOTICE.rst", "COPYING", "COPYING.LESSER", "LICENSE.MIT", "LICENSE_zh.md", "LICENSE.en.md",
         "LICENSE-MODEL", "LICENSE (Model).txt", "LICENSE AGREEMENT.txt", "LICENSES.txt", "USE_POLICY.md", "USAGE_POLICY",
         "acceptable_use_policy.md", "LICENSE_\u4e2d\u6587.md", "LICENSE.markdown")  # fmt: skip
FOREIGN = ("LICENSE.7z", "LICENSE.tar", "LICENSE.txt.gz", "NOTICE.wasm", "LICENSE.js", "LICENSE.html", "LICENSE.command",
           "LICENSE.dylib", "LICENSE.so", "COPYING.xz", "LICENSE.pdf", "LICENSE.docx", "NOTICE.pkl", "LICENSE.bin", "LICENSE.sh",
           "LICENSE.app", "LICENSE.terminal", "LICENSE.txt.command", "LICENSE.webloc", "LICENSE.svg", "LICENSE.exe",
           "LICENSE\x1b[2J", "LICENSE\r", "LICENSE\n", "LICENSE\u202etxt.md", "LICENSE\u200b", "LICENSE\u3164", "LICENSE\ufb01",
           "LICENSE.txt ", "LICENSE.t\u0445t", "LICENSE\x00", "LICENSE\udcff", "LICENSE'", "LICENSE$(id)", "LICENSE.",
           "LICENSE" + "x" * 300)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_legal_texts_are_known(name: str) -> None:
    assert is_legal(name)
    assert not looks_legal(name)


@pytest.mark.parametrize("name", FOREIGN)
def test_other_endings_and_signs_are_left_behind_and_told(name: str) -> None:
    assert not is_legal(name)
    legal = read_legal(MemoryFiles({name: b"text", "LICENSE": b"MIT"}))
    assert (legal.texts, list(legal.left), dict(legal.broken)) == (("LICENSE",), [name], {})


@pytest.mark.parametrize("name", ["LICENSE.py", "sub/LICENSE", "unlicensed.txt", "LICENSE/x.txt"])
def test_what_is_no_legal_file_is_none_of_both(name: str) -> None:
    assert not is_legal(name)
    assert not looks_legal(name)


TEXTS = (
    b"",
    b"MIT License\n\nCopyright (c)\r\n",
    "\ufeffApache \u2014 2.0".encode(),
    b"GNU\n\x0c\nGENERAL\t",
    b"1. Terms",
    b"1.",
    b"N.",
    b"DOS\r\n\x1a",
    "\u8bb8\u53ef\u8bc1".encode(),
    b"<!-- a comment -->\n# License",
    b"(I) You may.",
    b"cost is free.\nno.\n",
)


@pytest.mark.parametrize("data", TEXTS)
def test_texts_are_texts(data: bytes) -> None:
    assert text_fault(data) == ""


def test_the_own_licence_is_a_text() -> None:
    assert text_fault((ROOT / "LICENSE").read_bytes()) == ""


class Calls:
    """What a pickle carries that runs something."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("hello",)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("content", [Calls(), {"a": [1, "b"]}])
def test_a_pickle_of_any_protocol_is_no_text(content: object, protocol: int) -> None:
    assert text_fault(pickle.dumps(content, protocol))


@pytest.mark.parametrize("more", [b"\n", b"\nMIT License\n" * 9])
def test_a_pickle_before_a_text_is_a_pickle(more: bytes) -> None:
    assert "pickle" in text_fault(b"cos\nsystem\n(S'id'\ntR." + more)
    assert "pickle" in text_fault(b"(S'id'\nios\nsystem\n." + more)


@pytest.mark.parametrize(
    "data",
    [
        lzma.compress(b"x" * 99),
        b"7z\xbc\xaf\x27\x1c",
        b"\0asm\1\0\0\0",
        b"\xcf\xfa\xed\xfe\7\0\0\1",
        b"PK\3\4",
        b"\x7fELF",
        b"\0" * 99,
        b"#!/bin/sh\nid\n",
        b"\xef\xbb\xbf#!/bin/sh",
        b"\n #!/bin/sh",
        b"%PDF-1.7\n",
        b"<!DOCTYPE html><html>",
        b"<HTML>",
        b"<script>",
        b"{\\rtf1",
        b"MIT\x1b]0;x\x07",
        b"a\x08b",
        b"\x7f",
        "a\u009b2J".encode(),
        b"a\0b",
        b"\xff\xfea",
    ],
)
def test_programs_archives_pages_and_commands_to_a_terminal_are_no_text(data: bytes) -> None:
    assert text_fault(data)
    legal = read_legal(MemoryFiles({"LICENSE": data, "NOTICE": b"text"}))
    assert (legal.texts, list(legal.broken)) == (("NOTICE",), ["LICENSE"])


@pytest.mark.parametrize("data", ["Copyright \u00a9 \u201cme\u201d".encode("cp1252"), "Copyright".encode("utf-16")])
def test_text_of_another_encoding_is_left_behind_only_beside_another_text(data: bytes) -> None:
    alone = read_legal(MemoryFiles({"LICENSE": data}))
    assert alone.broken == {"LICENSE": "is text, but not UTF-8"}
    beside = read_legal(MemoryFiles({"LICENSE": data, "LICENSE.txt": b"MIT"}))
    assert (beside.texts, dict(beside.broken), list(beside.left)) == (("LICENSE.txt",), {}, ["LICENSE"])


def test_what_is_too_large_for_a_text_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "NOTICE").open("wb") as file:
        file.truncate(90 << 30)
    legal = read_legal(FolderFiles(tmp_path))
    assert "more than 1,048,576 bytes" in legal.broken["NOTICE"]
    assert text_fault(b"x" * LARGEST) == ""
    assert text_fault(b"x" * (LARGEST + 1))


class Listed(MemoryFiles):
    """A list of files of which none may be read."""

    @property
    def entries(self) -> dict[str, FileEntry]:
        return {"LICENSE": FileEntry("LICENSE", LARGEST + 1)}

    def read(self, path: str) -> bytes:
        raise AssertionError(path)


def test_a_hub_is_not_asked_for_a_licence_that_is_too_large() -> None:
    assert list(read_legal(Listed({})).broken) == ["LICENSE"]


def test_there_is_a_most_of_legal_texts() -> None:
    legal = read_legal(MemoryFiles({f"LICENSE-{number:03}": b"x" for number in range(101)}))
    assert (len(legal.texts), list(legal.broken)) == (100, ["LICENSE-100"])
