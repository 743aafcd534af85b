"""The tokenizer's files: class, special tokens, chat template, stop ids. Nothing is loaded or run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.errors import Refused
from mlx_publish.model.files import ModelFiles, read_json_file


@dataclass(frozen=True)
class TokenizerInfo:
    """What the files say. `template_places` names where a chat template stands, in the order of preference."""

    tokenizer_class: str | None
    fast: bool
    """True where there is a tokenizer.json."""
    templates: Mapping[str, str]
    """Chat templates by name; `default` is the one that applies unasked."""
    template_places: tuple[str, ...]
    stop_ids: tuple[int, ...]
    special_tokens: Mapping[str, str]

    def summary(self) -> dict[str, Any]:
        """What the report keeps."""
        return {
            "tokenizer_class": self.tokenizer_class,
            "tokenizer_json": self.fast,
            "chat_templates": sorted(self.templates),
            "template_places": list(self.template_places),
            "stop_ids": list(self.stop_ids),
            "special_tokens": dict(self.special_tokens),
        }


def read_tokenizer(files: ModelFiles) -> TokenizerInfo:
    """Read what is there; a model without a tokenizer gives an empty record.

    Raises `Refused` where a JSON file is broken.
    """
    config = read_json_file(files, "tokenizer_config.json") or {}
    found = _templates(files, config)
    first = next(iter(found.values()), {})
    return TokenizerInfo(
        tokenizer_class=_text(config.get("tokenizer_class")),
        fast="tokenizer.json" in files.entries,
        templates=first,
        template_places=tuple(found),
        stop_ids=stop_ids(files),
        special_tokens={
            key: text
            for key in ("bos_token", "eos_token", "pad_token", "unk_token")
            if (text := _token_text(config.get(key)))
        },
    )


def stop_ids(files: ModelFiles) -> tuple[int, ...]:
    """All ids that config.json and generation_config.json name as ends, sorted."""
    ids: set[int] = set()
    for path in ("config.json", "generation_config.json"):
        value = _config(files, path).get("eos_token_id")
        ids.update(item for item in (value if isinstance(value, list) else [value]) if type(item) is int)
    return tuple(sorted(ids))


def _config(files: ModelFiles, path: str) -> Mapping[str, Any]:
    """generation_config.json alone may be broken: a check tells it, and conversion repairs it."""
    try:
        return read_json_file(files, path) or {}
    except Refused:
        if path == "generation_config.json":
            return {}
        raise


def _templates(files: ModelFiles, config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Templates by place, the place that wins first: the order is that of transformers."""
    found: dict[str, dict[str, str]] = {}
    if "chat_template.jinja" in files.entries:
        try:
            found["chat_template.jinja"] = {"default": files.read("chat_template.jinja").decode()}
        except UnicodeDecodeError as error:
            raise Refused(f"not UTF-8: {error.reason}", place="chat_template.jinja") from error
    for path in ("chat_template.json", "tokenizer_config.json"):
        data = config if path == "tokenizer_config.json" else read_json_file(files, path) or {}
        if named := _named(data.get("chat_template")):
            found[path] = named
    return found


def _named(value: object) -> dict[str, str]:
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list):
        pairs = ((entry.get("name"), entry.get("template")) for entry in value if isinstance(entry, Mapping))
        return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)}
    return {}


def _token_text(value: object) -> str | None:
    """A special token is written as its text or as an object with `content`."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return _text(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
