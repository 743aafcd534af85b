"""Prompts with pictures: places by config.json, models without a chat template, and code that does not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import dynamic_module_utils  # noqa: TID251 -- what would run code of a model

from mlx_publish.engine import showing
from mlx_publish.engine.showing import Reader, forced, in_parts, rendered


class Tokenizer:
    """Knows two tokens."""

    chat_template: str | None = None

    def convert_ids_to_tokens(self, id_: int) -> str:
        return {7: "<image>", 8: "<audio>"}[id_]


def reader(**config: Any) -> Reader:
    return Reader(Tokenizer(), config)


@pytest.mark.parametrize(
    ("config", "kind", "place"),
    [
        ({"image_token_id": 7}, "picture", 7),
        ({"image_token_index": 7, "audio_token_id": 8}, "sound", 8),
        ({"media_placeholder_token_id": 9}, "picture", 9),
        ({"image_token_id": None, "image_token_index": 5}, "picture", 5),
        ({"image_token_id": "7"}, "picture", None),
        ({}, "sound", None),
    ],
)
def test_the_token_in_whose_places_features_stand_is_the_one_that_the_config_names(
    config: dict[str, Any], kind: str, place: int | None
) -> None:
    assert reader(**config).place(kind) == place


def test_without_a_chat_template_the_token_of_a_picture_stands_in_front_of_the_question() -> None:
    assert rendered(reader(image_token_id=7), in_parts("What?", "picture"), {}) == "<image>What?"
    assert rendered(reader(audio_token_id=8), in_parts("What?", "sound"), {}) == "<audio>What?"
    assert rendered(reader(), in_parts("What?", "picture"), {}) == "What?"
    assert rendered(reader(), "<image>a whole prompt", {}) == "<image>a whole prompt"


def test_a_model_can_be_led_along_an_answer() -> None:
    take: Any = forced([3, 1, 2])

    assert [take(None).item() for _ in range(4)] == [3, 1, 2, 0]


def test_no_class_is_taken_from_a_file_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some processors of mlx-vlm ask transformers for code of the model, whatever they are told."""
    monkeypatch.setattr(dynamic_module_utils, "get_class_in_module", dynamic_module_utils.get_class_in_module)
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    ran = tmp_path / "ran"
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Own: pass\n")
    showing._run_no_code()
    with pytest.raises(ValueError, match="the class Own is code of the model, which is not run"):
        dynamic_module_utils.get_class_from_dynamic_module("own.Own", str(folder))
    assert not ran.exists()
