"""Digests that name bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_publish.evidence.digests import FileDigest, digest_of, folder_digest, git_sha1_of, listing, sha256_of
from mlx_publish.text.files import json_text

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_digests_of_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    assert sha256_of(path) == HELLO
    assert git_sha1_of(path) == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"  # as `git hash-object` gives it
    path.write_bytes(b"")
    assert git_sha1_of(path) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_large_files_are_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * ((1 << 20) + 1))
    whole = sha256_of(path)
    path.write_bytes(b"a" * (1 << 20) + b"b")
    assert sha256_of(path) != whole


def test_the_order_of_keys_does_not_matter_but_every_value_does() -> None:
    first = {"a": 1, "b": [1, 2], "c": "ü"}
    assert digest_of(first) == digest_of({"c": "ü", "b": [1, 2], "a": 1})
    assert len({digest_of(first), digest_of(first | {"a": 2}), digest_of(first | {"b": [2, 1]})}) == 3


def test_json_is_written_one_way() -> None:
    text = json_text({"b": "ü", "a": [1.5]})
    assert text == '{\n  "b": "ü",\n  "a": [\n    1.5\n  ]\n}\n'
    assert json.loads(text) == {"b": "ü", "a": [1.5]}
    with pytest.raises(ValueError, match="JSON"):
        json_text({"a": float("nan")})


def test_a_folder_is_its_files_but_for_what_is_made_from_evidence() -> None:
    config, weights = FileDigest("config.json", 2, "a"), FileDigest("model.safetensors", 3, "b")
    made = (FileDigest("README.md", 1, "c"), FileDigest("mlx-publish.json", 1, "d"))
    digest = folder_digest([config, weights])
    assert folder_digest([weights, config, *made]) == digest
    assert folder_digest([config]) != digest
    assert folder_digest([config, FileDigest("model.safetensors", 3, "x")]) != digest
    assert folder_digest([config, weights, FileDigest("sub/README.md", 1, "c")]) != digest
    assert listing([weights, config]) == [
        {"path": "config.json", "size": 2, "sha256": "a"},
        {"path": "model.safetensors", "size": 3, "sha256": "b"},
    ]
