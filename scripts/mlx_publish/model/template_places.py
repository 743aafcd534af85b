"""Where chat templates stand: a place for each kind of client, all with the same text.

transformers takes chat_template.jinja and additional_chat_templates/*.jinja where there are any, and only then
tokenizer_config.json; older clients look in the latter only. chat_template.json is for processors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlx_publish.errors import Refused
from mlx_publish.model.draft import CONFIG, Draft, read_text
from mlx_publish.model.template_size import within_size_all

_NAME = re.compile(r"[^/\\\x00-\x1f\x7f.][^/\\\x00-\x1f\x7f]{0,99}")
KEY = "chat_template"
JINJA, LEGACY, MORE = "chat_template.jinja", "chat_template.json", "additional_chat_templates/"


def place_templates(draft: Draft) -> None:
    """Write the templates to the places of all clients. Raises `Refused` if one cannot be read."""
    alone = _in_files(draft)
    named = named_templates(draft.json.get(CONFIG, {}).get(KEY), CONFIG)
    legacy = named_templates(draft.json.get(LEGACY, {}).get(KEY), LEGACY)
    if JINJA in draft.files and "default" not in alone and "default" in named:
        draft.texts[JINJA] = named["default"]
        draft.changed(KEY, f"{JINJA} was empty; it holds the template of {CONFIG} now")
    if alone:
        _agree(draft, alone, named)
    elif not named and legacy:
        _from_legacy(draft, legacy)
    wins = {**named, **alone} or legacy
    if legacy and legacy.get("default") != wins.get("default"):
        draft.remarks.append(f"{LEGACY} holds another template, which only processors read; it stays")


def named_templates(value: object, path: str) -> dict[str, str]:
    """Return templates by name, from any of the spellings: text, list of name and template, object.

    Raises `Refused` if it is something else, or too large.
    """
    templates = _by_name(value, path)
    within_size_all(path, templates)
    return templates


def _by_name(value: object, path: str) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
        pairs = [(entry.get("name"), entry.get("template")) for entry in value]
    if not all(isinstance(part, str) for pair in pairs for part in pair) or (value and not pairs):
        raise Refused(
            "chat_template is neither a text nor texts by name",
            check="tokenizer-portable",
            place=path,
            remedy="Fix the file in the source.",
        )
    if strange := [name for name, _ in pairs if not _NAME.fullmatch(name)]:
        # Each becomes a file of that name.
        raise Refused(
            f"a chat template is called {strange[0][:40]!r}, which can be no file's name",
            check="tokenizer-portable",
            place=path,
            remedy="Rename it in the source.",
        )
    return dict(pairs)


def _in_files(draft: Draft) -> dict[str, str]:
    """Return the templates in files of their own; a further file named `default` overrules, as in transformers."""
    templates = {"default": read_text(JINJA, draft.files[JINJA])} if JINJA in draft.files else {}
    for path, data in sorted(draft.files.items()):
        name = path.removeprefix(MORE).removesuffix(".jinja")
        if path == f"{MORE}{name}.jinja" and "/" not in name:
            templates[name] = read_text(path, data)
    return {name: text for name, text in templates.items() if text.strip()}


def _agree(draft: Draft, alone: Mapping[str, str], named: Mapping[str, str]) -> None:
    if "default" in named and "default" not in alone and JINJA not in draft.files:
        draft.texts[JINJA] = named["default"]
        draft.changed(KEY, f"{JINJA} added: the default template stood in {CONFIG} only, where newer clients miss it")
    if missed := sorted(named.keys() - alone.keys() - {"default"}):
        draft.remarks.append(
            f"clients that read {JINJA} do not see {', '.join(missed)} of {CONFIG}; so it is in the source"
        )
    wanted = {**named, **alone}
    if wanted == named:
        return
    for name, text in alone.items():
        place = JINJA if name == "default" else f"{MORE}{name}.jinja"
        if name not in named:
            draft.changed(KEY, f"the template {name} of {place} added to {CONFIG}, where older clients look")
        elif named[name] != text:
            draft.changed(KEY, f"the template {name} of {CONFIG} differed from {place}, which wins in transformers")
    draft.config[KEY] = _spelled(wanted)


def _from_legacy(draft: Draft, legacy: Mapping[str, str]) -> None:
    draft.config[KEY] = _spelled(legacy)
    draft.changed(KEY, f"the chat template stood in {LEGACY} only, which tokenizers do not read; {CONFIG} has it now")
    if "default" in legacy:
        draft.texts[JINJA] = legacy["default"]
    for name in legacy.keys() - {"default"}:
        draft.texts[f"{MORE}{name}.jinja"] = legacy[name]


def _spelled(templates: Mapping[str, str]) -> str | list[dict[str, str]]:
    if templates.keys() == {"default"}:
        return templates["default"]
    return [{"name": name, "template": text} for name, text in templates.items()]
