"""A chat template's name becomes that of a file, so it may not lead out of the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_publish.errors import Refused
from mlx_publish.hooks import run_hook
from mlx_publish.model.portable import portable


@pytest.mark.parametrize(
    "name", ["../../evil", "/evil", "a/b", ".hidden", "..", "a\\b", "a\x00b", "a\nb", "x" * 300, ""]
)
@pytest.mark.parametrize("spelling", [lambda name: {name: "x"}, lambda name: [{"name": name, "template": "x"}]])
def test_a_name_that_is_a_path_is_refused(name: str, spelling: object) -> None:
    value = {"chat_template": spelling(name)}  # type: ignore[operator]
    for path in ("chat_template.json", "tokenizer_config.json"):
        with pytest.raises(Refused, match="which can be no file's name"):
            portable({"tokenizer_config.json": b"{}", path: json.dumps(value).encode()})


def test_the_hook_that_mends_writes_nothing_outside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["A"], "eos_token_id": 1}')
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.json").write_text('{"chat_template": {"default": "x", "../../../evil": "x"}}')
    assert run_hook("mlx-model-config", (folder / "config.json",), fix=True) == 1
    assert "'../../../evil', which can be no file's name" in capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob("*evil*")] == []


def test_ordinary_names_stay(tmp_path: Path) -> None:
    value = {"chat_template": [{"name": name, "template": "x"} for name in ("default", "tool_use", "rag 2", "v1.0")]}
    files = portable({"tokenizer_config.json": b"{}", "chat_template.json": json.dumps(value).encode()}).files
    assert "additional_chat_templates/v1.0.jinja" in files
