"""Prompts with pictures and sounds: a processor of mlx-vlm, its messages, and what it makes of files.

No code of a model runs: transformers is told so, and what would run it raises. Templates are rendered in their child.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import mlx.core as mx
import numpy as np
from transformers import dynamic_module_utils

from mlx_publish.chat.media import Medium
from mlx_publish.errors import PublishError, Refused
from mlx_publish.model.files import FolderFiles, read_json_file

Messages = list[dict[str, Any]]
_IDS = {
    "picture": ("image_token_id", "image_token_index", "media_placeholder_token_id", "img_context_token_id"),
    "sound": ("audio_token_id", "audio_token_index", "sound_context_token_id"),
}
"""Keys of config.json that name the token in whose places features stand."""
_SWITCH = "enable_thinking"
_REASON = 300
"""Characters of a library's reason."""


@dataclass(frozen=True)
class Reader:
    """What makes prompts and features of a folder's files."""

    processor: Any
    config: Mapping[str, object]

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer; some processors are one."""
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def template(self) -> str | None:
        """The chat template, of the processor or else of its tokenizer."""
        found = getattr(self.processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None)
        return default_of(found)

    @property
    def model_type(self) -> str:
        """The family, as config.json names it."""
        return str(self.config.get("model_type", ""))

    def place(self, kind: str) -> int | None:
        """Return the id in whose places features of a kind of medium stand; None if no key names it."""
        named = (self.config.get(key) for key in _IDS[kind])
        return next((id_ for id_ in named if isinstance(id_, int)), None)


def default_of(templates: Any) -> str | None:
    """Return the template that applies where none is named; a tokenizer has one, or several by name."""
    return templates.get("default") if isinstance(templates, dict) else templates


def reader_of(folder: Path) -> Reader:
    """Return the processor of a folder as `mlx_vlm.load` makes it. `Refused` where mlx-vlm cannot."""
    try:
        return _reader(folder)
    except Exception as error:
        if isinstance(error, PublishError | MemoryError) or getattr(error, "errno", None) is not None:
            raise
        raise Refused(
            f"mlx-vlm cannot load the processor: {type(error).__name__}: {str(error)[:_REASON]}",
            check="picture-answers",
            remedy="Compare preprocessor_config.json and processor_config.json with those of the model that the source "
            "was made from.",
        ) from error


def _reader(folder: Path) -> Reader:
    from mlx_vlm import utils  # noqa: PLC0415  it is there where models see

    config = read_json_file(FolderFiles(folder), "config.json") or {}
    _run_no_code()
    utils.get_model_and_args(dict(config))  # a family brings processors of its own, which need no torch
    processor = utils.load_processor(folder, add_detokenizer=False, trust_remote_code=False)
    if (images := utils.load_image_processor(folder, trust_remote_code=False)) is not None:
        processor.image_processor = images
    return Reader(processor, config)


def _run_no_code() -> None:
    """Let nothing load a class from a file of a model: some processors of mlx-vlm ask transformers to, whatever is set.

    `trust_remote_code=True` stands in the processors of inkling, internvl_chat and got.
    """
    dynamic_module_utils.get_class_in_module = _refused


def _refused(class_name: str, *_: object, **__: object) -> NoReturn:
    raise ValueError(f"the class {str(class_name)[:80]} is code of the model, which is not run")


def users_messages(reader: Reader, question: str, kind: str) -> Messages | str:
    """Return messages as `mlx_vlm.generate` makes them of a prompt, or the whole prompt where it is no dialogue."""
    from mlx_vlm.prompt_utils import apply_chat_template  # noqa: PLC0415

    count = {"num_images": 1} if kind == "picture" else {"num_audios": 1}
    made = apply_chat_template(None, dict(reader.config), question, return_messages=True, **count)
    first = made[-1]
    return first if isinstance(first, str) else cast("Messages", made)


def in_parts(question: str, kind: str) -> Messages:
    """Return messages with the medium as a part of their content."""
    part = {"type": "image"} if kind == "picture" else {"type": "audio"}
    return [{"role": "user", "content": [part, {"type": "text", "text": question}]}]


def rendered(reader: Reader, messages: Messages | str, options: Mapping[str, object]) -> str:
    """Return the prompt; to be called within `prompts.finished`.

    mlx-vlm turns thinking off where a caller says nothing (`get_chat_template`).
    """
    if isinstance(messages, str):
        return messages
    if reader.template is None:
        return "".join(_plain(message["content"], reader) for message in messages)
    given = {_SWITCH: False, **options}
    text = reader.tokenizer.apply_chat_template(
        messages, chat_template=reader.template, add_generation_prompt=True, tokenize=False, **given
    )
    return str(text)


def _plain(content: object, reader: Reader) -> str:
    """Return a message of a model without a chat template: each medium as the text of its token."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    token = {"image": _token(reader, "picture"), "audio": _token(reader, "sound")}
    return "".join(token.get(str(part["type"]), "") or str(part.get("text", "")) for part in parts)


def _token(reader: Reader, kind: str) -> str:
    id_ = reader.place(kind)
    return "" if id_ is None else str(reader.tokenizer.convert_ids_to_tokens(id_))


def inputs_of(reader: Reader, prompt: str, medium: Medium) -> dict[str, Any]:
    """Return ids, the features of a medium and what else the model is given, as `mlx_vlm.generate` makes them."""
    from mlx_vlm.utils import prepare_inputs, should_add_special_tokens  # noqa: PLC0415

    media: dict[str, Any] = {"images": [_picture(medium)]} if medium.kind == "picture" else {"audio": [_sound(medium)]}
    inputs = prepare_inputs(
        reader.processor,
        prompts=prompt,
        image_token_index=reader.config.get("image_token_index"),
        add_special_tokens=should_add_special_tokens(reader.model_type, reader.processor),
        **media,
    )
    return {key: value for key, value in inputs.items() if value is not None}


def _picture(medium: Medium) -> Any:
    from PIL import Image  # noqa: PLC0415  it is there where models see

    with Image.open(io.BytesIO(medium.file())) as image:
        return image.convert("RGB")


def _sound(medium: Medium) -> Any:
    """Return samples between -1 and 1, at the rate that the file is written with."""
    with wave.open(io.BytesIO(medium.file())) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    return samples.astype(np.float32) / 32768


def forced(tokens: Sequence[int]) -> Callable[[mx.array], mx.array]:
    """Return a sampler that takes these tokens one after the other, whatever is likely."""
    left = iter(tokens)
    return lambda _: mx.array([next(left, 0)])
