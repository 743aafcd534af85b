"""What may be sent, and what exactly is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_publish.evidence.digests import FileDigest, git_sha1_of, sha256_of
from mlx_publish.hub.manifest import digests, manifest, may_be_sent, strangers

ALLOWED = (
    "README.md",
    "mlx-publish.json",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00012.safetensors",
    "tokenizer.json",
    "tokenizer.model",
    "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja",
    "qwen.tiktoken",
    "LICENSE",
    "NOTICE.txt",
    "USE_POLICY.md",
    "preprocessor_config.json",
    "quantization-plan.yaml",
    "mtp/config.json",
    "mtp/model.safetensors",
    "mtp/model-00001-of-00002.safetensors",
    "mtp/model.safetensors.index.json",
)
FORBIDDEN = (".env", ".DS_Store", "train.log", "modeling.py", "license.py", "pytorch_model.bin", "model.fp16.safetensors",
             "model-1-of-2.safetensors", "model.safetensors\n", "xmodel.safetensors", "sub/README.md", "sub/config.json",
             ".git/config", ".cache/huggingface/x", "additional_chat_templates/.env", "tokens.txt", "id_rsa", "README",
             "readme.md", "../README.md", "", "notice.pkl", "optimizer.pt", "config.json.bak", ".tiktoken",
             "mtp/README.md", "mtp/tokenizer.json", "mtp/modeling.py", "mtp/mtp/config.json", "mtp/.env", "nextn/config.json",
             "sub/quantization-plan.yaml", "quantization-plan.yml", "plan.yaml")  # fmt: skip


@pytest.mark.parametrize("path", ALLOWED)
def test_a_models_files_may_be_sent(path: str) -> None:
    assert may_be_sent(path)


@pytest.mark.parametrize("path", FORBIDDEN)
def test_nothing_else_may(path: str) -> None:
    assert not may_be_sent(path)


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_hidden_files_links_and_strays_are_strangers(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    fill(folder, "config.json", "additional_chat_templates/x.jinja")
    assert strangers(folder) == []
    fill(folder, ".env", "sub/x.log", ".hidden/config.json")
    (folder / "LICENSE").symlink_to(folder / "config.json")
    (folder / "link").symlink_to(tmp_path)
    (folder / "tokenizer.json").symlink_to("nowhere")
    assert strangers(folder) == [
        ".env",
        ".hidden/config.json",
        "LICENSE (a link)",
        "link (a link)",
        "sub/x.log",
        "tokenizer.json (a link)",
    ]


@pytest.mark.parametrize("begins", [b"\x80\x04\x95", b"PK\x03\x04", b"\x7fELF", b"#!/bin/sh\n", b"\x1f\x8b\x08"])
def test_a_pickle_or_a_program_is_one_under_any_name(tmp_path: Path, begins: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(begins + b"x")
    assert strangers(tmp_path) == ["tokenizer.model (a program, a pickle or an archive)"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("NOTICE", b"cos\nsystem\n(S'id'\ntR.", "NOTICE (is a pickle, not a text)"),
        ("COPYING", b"\xff\0", "COPYING (is no text)"),
        ("LICENSE", b"x" * (1 << 20) + b"x", "LICENSE (has more than 1,048,576 bytes, too many for a licence file)"),
        ("LICENSE.7z", b"x", "LICENSE.7z"),
        ("NOTICE.html", b"x", "NOTICE.html"),
        ("LICENSE\x1b", b"x", "LICENSE\\x1b"),
        ("NOTICE\u202etxt", b"x", "NOTICE\\u202etxt"),
    ],
)
def test_only_texts_are_sent_as_legal_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert strangers(tmp_path) == [message]


def test_no_two_files_that_are_one_on_a_mac_are_sent(tmp_path: Path) -> None:
    fill(tmp_path, "LICENSE", "license")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk takes both for one")
    assert strangers(tmp_path) == ["license (on a Mac it is LICENSE)"]


def test_weights_are_those_that_the_index_names(tmp_path: Path) -> None:
    first, second, third = (f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))
    fill(tmp_path, first, second)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": first, "b": third}}))
    assert strangers(tmp_path) == [
        f"{second} (not named by the index)",
        f"{third} (named by the index, but missing)",
    ]


def test_weights_of_a_drafter_are_those_that_its_own_index_names(tmp_path: Path) -> None:
    first, second, third = (f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))
    fill(tmp_path, "model.safetensors", f"mtp/{first}", f"mtp/{second}", "mtp/notes.txt")
    (tmp_path / "mtp/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": first, "b": third}}))
    assert strangers(tmp_path) == [
        f"mtp/{second} (not named by the index)",
        "mtp/notes.txt",
        f"mtp/{third} (named by the index, but missing)",
    ]


def test_the_manifest_has_every_file_with_its_digests(tmp_path: Path) -> None:
    fill(tmp_path, "config.json", "additional_chat_templates/x.jinja", ".env")
    files = manifest(tmp_path)
    assert [file.path for file in files] == [".env", "additional_chat_templates/x.jinja", "config.json"]
    config = files[2]
    path = tmp_path / "config.json"
    assert (config.local, config.size) == (path, 11)
    assert (config.sha256, config.git_sha1) == (sha256_of(path), git_sha1_of(path))
    assert digests(files)[2] == FileDigest("config.json", 11, sha256_of(path))
