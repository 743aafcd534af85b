"""The files of a model in a folder, and as a fake."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_publish.errors import Refused
from mlx_publish.model import files as files_module
from mlx_publish.model.files import FolderFiles, MemoryFiles, read_json_file
from mlx_publish.text.bounds import Bounds
from samples import weight_file

WEIGHTS = weight_file({"a": ("F32", (2, 3))})


def test_a_folder_lists_all_but_hidden_files(tmp_path: Path) -> None:
    for name in ("config.json", "sub/x.txt", ".git/config", "sub/.hidden", ".env"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    files = FolderFiles(tmp_path)
    assert {path: entry.size for path, entry in files.entries.items()} == {"config.json": 2, "sub/x.txt": 2}
    assert files.read("sub/x.txt") == b"{}"


def test_folder_and_fake_are_alike(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    folder, fake = FolderFiles(tmp_path), MemoryFiles({"model.safetensors": WEIGHTS})
    assert folder.entries == fake.entries
    assert folder.header("model.safetensors") == fake.header("model.safetensors")
    assert folder.read("model.safetensors") == fake.read("model.safetensors")


def test_json_of_the_model() -> None:
    files = MemoryFiles({"config.json": b'{"a": 1}', "marked.json": b'\xef\xbb\xbf{"a": 1}'})
    assert read_json_file(files, "config.json") == {"a": 1}
    assert read_json_file(files, "marked.json") == {"a": 1}
    assert read_json_file(files, "none.json") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{\n"a": 1,\n}', "config.json:3: not valid JSON: "),
        (b"", "config.json:1: not valid JSON: Expecting value"),
        (b'{"a": "\xff"}', "config.json:1: not UTF-8: "),
        (b"[]", "config.json: is not a JSON object"),
        (b"null", "config.json: is not a JSON object"),
        (b"version https://git-lfs.github.com/spec/v1\n", "config.json:1: not valid JSON: Expecting value"),
    ],
)
def test_json_that_is_broken_names_file_and_line(data: bytes, message: str) -> None:
    with pytest.raises(Refused) as caught:
        read_json_file(MemoryFiles({"config.json": data}), "config.json")
    assert str(caught.value).startswith(message)
    assert caught.value.check == "readable"


def test_metadata_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "bounds_of", lambda _: Bounds(9))
    assert read_json_file(MemoryFiles({"x.json": b'{"a":  1}'}), "x.json") == {"a": 1}
    with pytest.raises(Refused, match=r"^x\.json: is 10 bytes, too large for metadata$"):
        read_json_file(MemoryFiles({"x.json": b'{"a":   1}'}), "x.json")
