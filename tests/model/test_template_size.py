"""A chat template is larger than any that is in use: refused before it is parsed, wherever it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_publish.errors import Refused
from mlx_publish.hooks.template_files import templates_in
from mlx_publish.model.files import FolderFiles, MemoryFiles
from mlx_publish.model.template_places import named_templates
from mlx_publish.model.template_size import LARGEST
from mlx_publish.model.tokenizer import read_tokenizer

OVER = "x" * (LARGEST + 1)
HALF = "x" * (LARGEST // 2)
PLACES: dict[str, dict[str, object]] = {
    "a file of its own": {"chat_template.jinja": OVER},
    "a key": {"tokenizer_config.json": {"chat_template": OVER}},
    "templates by name": {"tokenizer_config.json": {"chat_template": [{"name": "default", "template": OVER}]}},
    "many that are small": {
        "tokenizer_config.json": {"chat_template": [{"name": str(n), "template": "x" * 999} for n in range(1100)]}
    },
    "a mapping": {"tokenizer_config.json": {"chat_template": {"default": HALF, "tool_use": HALF}}},
    "the older file": {"chat_template.json": {"chat_template": OVER}},
    "further files": {"additional_chat_templates/a.jinja": OVER},
    "two files together": {"chat_template.jinja": HALF, "additional_chat_templates/a.jinja": HALF + "x"},
}


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize("place", PLACES)
def test_it_is_refused_in_each_place(tmp_path: Path, place: str) -> None:
    files: dict[str, object] = {"tokenizer_config.json": {}, **PLACES[place]}
    folder = FolderFiles(write(tmp_path, files))
    memory = MemoryFiles({path: folder.read(path) for path in folder.entries})
    for read in (folder, memory):
        with pytest.raises(Refused, match=r"the chat template has 1,.* at most 1,048,576 are read") as caught:
            read_tokenizer(read)
        assert caught.value.check == "template-safe"
        assert caught.value.place.name in {*files}


def test_the_largest_that_is_read_is_read(tmp_path: Path) -> None:
    largest = "x" * LARGEST
    write(tmp_path, {"chat_template.jinja": largest, "tokenizer_config.json": {}})
    assert read_tokenizer(FolderFiles(tmp_path)).templates == {"default": largest}


def test_hooks_and_conversion_refuse_it_alike(tmp_path: Path) -> None:
    write(tmp_path, {"chat_template.jinja": OVER, "tokenizer_config.json": {"chat_template": OVER}})
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        with pytest.raises(Refused, match="at most 1,048,576"):
            templates_in(tmp_path / name)
    with pytest.raises(Refused, match="at most 1,048,576"):
        named_templates(OVER, "tokenizer_config.json")
