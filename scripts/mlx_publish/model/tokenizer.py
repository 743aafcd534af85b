"""The tokenizer's files: class, special tokens, chat template, stop ids. Loads and runs nothing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from mlx_publish.errors import Refused
from mlx_publish.model.files import ModelFiles, read_json_file
from mlx_publish.model.template_size import within_size, within_size_all

_JINJA, _MORE = "chat_template.jinja", "additional_chat_templates/"


@dataclass(frozen=True)
class TokenizerInfo:
    """The content of the files. `template_places` names where a chat template stands, in the order of preference."""

    tokenizer_class: str | None
    fast: bool
    """True if there is a tokenizer.json."""
    templates: Mapping[str, str]
    """Chat templates by name; `default` is the one that applies unasked."""
    template_places: tuple[str, ...]
    templates_differ: bool
    """Whether two places hold different templates for the same name."""
    stop_ids: tuple[int, ...]
    special_tokens: Mapping[str, str]
    code: str | None = None
    """The class of the source's own that `auto_map` names, as `tokenization_kimi.TikTokenTokenizer`."""
    empty: str = ""
    """The file that holds the default template and nothing in it; to transformers it is the template all the same."""

    def summary(self) -> dict[str, object]:
        """Return what the report keeps."""
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

    Raises `Refused` if a JSON file is broken.
    """
    config = read_json_file(files, "tokenizer_config.json") or {}
    older = read_json_file(files, "special_tokens_map.json") or {}
    by_place = _templates(files, config)
    # Where only further templates have files of their own, conversion gives the default one, too.
    with_default = next((templates for templates in by_place.values() if "default" in templates), {})
    return TokenizerInfo(
        tokenizer_class=_text(config.get("tokenizer_class")),
        fast="tokenizer.json" in files.entries,
        templates={**with_default, **next(iter(by_place.values()), {})},
        template_places=tuple(by_place),
        templates_differ=any(
            preferred[name] != other[name]
            for preferred, other in itertools.combinations(by_place.values(), 2)
            for name in preferred.keys() & other
        ),
        stop_ids=stop_ids(files),
        special_tokens=_special_tokens(config, older),
        code=_code(config.get("auto_map")),
        empty=_JINJA if _JINJA in files.entries and not _template(files, _JINJA).strip() else "",
    )


def _code(auto_map: object) -> str | None:
    """Return the first class of a pair, slow and fast; older files have the pair without `AutoTokenizer`."""
    named = auto_map.get("AutoTokenizer") if isinstance(auto_map, Mapping) else auto_map
    pair = named if isinstance(named, list) else [named]
    return next((name for name in pair if isinstance(name, str) and name), None)


def stop_ids(files: ModelFiles) -> tuple[int, ...]:
    """Return all ids that config.json and generation_config.json name as ends, sorted."""
    ids: set[int] = set()
    for path in ("config.json", "generation_config.json"):
        value = _config(files, path).get("eos_token_id")
        ids.update(item for item in (value if isinstance(value, list) else [value]) if type(item) is int)
    return tuple(sorted(ids))


def _special_tokens(*places: Mapping[str, object]) -> dict[str, str]:
    """Return texts by role, the first place wins; transformers 5 gives templates every key that ends in `_token`."""
    texts: dict[str, str] = {}
    for place in places:
        extra = place.get("extra_special_tokens")
        pairs = [(key, value) for key, value in place.items() if key.endswith("_token")]
        pairs += list(extra.items()) if isinstance(extra, Mapping) else []
        for key, value in pairs:
            # A special token is written as its text or as an object with `content`.
            if text := _text(value.get("content") if isinstance(value, Mapping) else value):
                texts.setdefault(key, text)
    return texts


def _config(files: ModelFiles, path: str) -> Mapping[str, object]:
    """Read a config. Only generation_config.json may be broken: a check says so, and conversion repairs it."""
    try:
        return read_json_file(files, path) or {}
    except Refused:
        if path == "generation_config.json":
            return {}
        raise


def _templates(files: ModelFiles, config: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Return templates by place, the winning place first, in the order of transformers' tokenizers."""
    by_place: dict[str, dict[str, str]] = {}
    if alone := _in_files(files):
        by_place[_JINJA] = alone
    for path in ("tokenizer_config.json", "chat_template.json"):
        data = config if path == "tokenizer_config.json" else read_json_file(files, path) or {}
        named = _named(data.get("chat_template"))
        within_size_all(path, named)
        if filled := {name: text for name, text in named.items() if text.strip()}:
            by_place[path] = filled
    return by_place


def _in_files(files: ModelFiles) -> dict[str, str]:
    """Return the templates that have files of their own: the default and further ones."""
    entries = files.entries
    paths = {"default": _JINJA} if _JINJA in entries else {}
    for path in entries:
        name = path.removeprefix(_MORE).removesuffix(".jinja")
        if path == f"{_MORE}{name}.jinja" and "/" not in name:
            paths[name] = path
    sizes = {path: entries[path].size for path in paths.values()}
    within_size(max(sizes, key=lambda path: sizes[path], default=_JINJA), sum(sizes.values()))
    texts = {name: _template(files, path) for name, path in sorted(paths.items())}
    return {name: text for name, text in texts.items() if text.strip()}


def _template(files: ModelFiles, path: str) -> str:
    try:
        return files.read(path).decode()
    except UnicodeDecodeError as error:
        raise Refused(f"not UTF-8: {error.reason}", place=path) from error


def _named(value: object) -> dict[str, str]:
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, Mapping):
        return {name: text for name, text in value.items() if isinstance(text, str)}
    if isinstance(value, list):
        pairs = ((entry.get("name"), entry.get("template")) for entry in value if isinstance(entry, Mapping))
        return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)}
    return {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
