"""Tokenizer files that clients on transformers 4 and 5 read alike; ids never change.

What fails where was tried with transformers 4.57 and 5.24 (tests/test_transformers4.py):

- 4.57 raises for a class that it does not know, for `extra_special_tokens` that is a list or null, and for a
  `tokenizer_file` that is not there; 5.24 takes them.
- 4.57 builds llama and T5 tokenizers from the slow model file as soon as `add_prefix_space` is set, and raises where
  that file is missing. 5.24 builds them from the class, so a value of false cannot be dropped alone.
- 4.57 sets `add_prefix_space` of a byte-level pre-tokenizer on top from tokenizer_config.json, false if it is silent.
"""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path

from mlx_publish.model.draft import CONFIG, SPECIAL, Change, Draft
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.select import is_tokenizer
from mlx_publish.model.template_places import place_templates

# The class of both that takes tokenizer.json as it is.
PLAIN = "PreTrainedTokenizerFast"
_PLAIN = frozenset({PLAIN, "PreTrainedTokenizer", "TokenizersBackend"})
# Classes of transformers 4 that go back to a slow model file where add_prefix_space is set, and its name.
_SLOW_FILE = {"LlamaTokenizer": "tokenizer.model", "T5Tokenizer": "spiece.model"}
_SLOW = re.compile(r"(\.model|\.tiktoken|vocab\.(json|txt))$")
# What a machine wrote about itself; of no use to others, and `tokenizer_file` keeps transformers 4 from loading.
_LOCAL = frozenset({
    "_commit_hash", "backend", "cache_dir", "from_slow", "is_local", "local_files_only", "merges_file", "name_or_path",
    "special_tokens_map_file", "token", "tokenizer_file", "trust_remote_code", "use_auth_token", "vocab_file",
})  # fmt: skip
_EXTRA = "extra_special_tokens"
_PATH_KEY = re.compile(r"_(file|path|dir)$")
_ABSOLUTE = re.compile(r"^(/|~|[A-Za-z]:[\\/]|\\\\)")


@dataclass(frozen=True)
class Repaired:
    """What to write over a folder's tokenizer files; files that are not named stay as they are."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    """What was changed and why."""
    remarks: tuple[str, ...] = ()
    """What is odd and stays."""


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """Read the tokenizer's files of a folder."""
    return {path: (folder / path).read_bytes() for path in FolderFiles(folder).entries if is_tokenizer(path)}


def portable(files: Mapping[str, bytes], *, plain: bool = False) -> Repaired:
    """Repair tokenizer files, given by path, for clients old and new; an empty result where they are fine.

    With `plain` the class becomes the one that reads tokenizer.json as it is: for a folder whose class gives other ids
    (transformers 5 rebuilds the tokenizer of GPT2Tokenizer and some fifty other classes
    without the pre-tokenizer of tokenizer.json).

    Raises `Refused` naming file and line where a file is no UTF-8 or broken JSON.
    """
    draft = Draft.of(files)
    for path, data in files.items():
        if path.endswith(".json") and data.startswith(codecs.BOM_UTF8):
            draft.changed("", f"byte order mark removed from {path}, which clients cannot parse", path)
    if CONFIG in draft.json:
        _local_state(draft)
        for path in (CONFIG, SPECIAL):
            _extra_tokens(draft, path)
    if draft.fast is not None and (plain or CONFIG in draft.json):
        _class(draft, plain=plain)
        _code(draft)
        _slow_prefix_space(draft)
        _byte_level(draft)
    place_templates(draft)
    return Repaired(draft.written(), tuple(draft.changes), tuple(draft.remarks))


@functools.cache
def transformers4_classes() -> frozenset[str]:
    """Return the names of the tokenizer classes of transformers 4.57."""
    text = package_files("mlx_publish").joinpath("data/transformers4_tokenizers.txt").read_text(encoding="utf-8")
    return frozenset(text.split())


def _local_state(draft: Draft) -> None:
    local = [
        key
        for key, value in draft.config.items()
        if key in _LOCAL or (isinstance(value, str) and _PATH_KEY.search(key) and _ABSOLUTE.match(value))
    ]
    for key in local:
        del draft.config[key]
    if local:
        draft.changed(local[0], f"{', '.join(local)} removed: state of the machine that wrote the file")


def _extra_tokens(draft: Draft, path: str) -> None:
    """Rename a list of tokens to its older key, at the same place; a dict of named tokens is valid in both."""
    data = draft.json.get(path, {})
    if _EXTRA not in data or isinstance(data[_EXTRA], dict):
        return
    listed = data[_EXTRA]
    if not isinstance(listed, list):
        del data[_EXTRA]
        draft.changed(_EXTRA, f"empty {_EXTRA} removed from {path}", path)
        return
    entries = (*(data.get("additional_special_tokens") or ()), *listed)
    texts = (entry["content"] if isinstance(entry, Mapping) and "content" in entry else entry for entry in entries)
    tokens = list(dict.fromkeys(texts))
    pairs = [(key, value) for key, value in data.items() if key != "additional_special_tokens"]
    data.clear()
    for key, value in pairs:
        moved = key == _EXTRA
        data["additional_special_tokens" if moved else key] = tokens if moved else value
    draft.changed(_EXTRA, f"the list {_EXTRA} of {path} is additional_special_tokens now", path)


def _class(draft: Draft, *, plain: bool) -> None:
    named, known = draft.config.get("tokenizer_class"), True
    if isinstance(named, str):
        # transformers 4 needs a form of the class that reads tokenizer.json, or the files for its slow form.
        classes, fast = transformers4_classes(), named if named.endswith("Fast") else f"{named}Fast"
        known = fast in classes or (named in classes and any(_SLOW.search(path) for path in draft.files))
    if named == PLAIN or (known and not plain):
        return
    draft.config["tokenizer_class"] = PLAIN
    reason = "whose ids differ from tokenizer.json's" if plain else "which transformers 4 does not know"
    draft.changed("tokenizer_class", f"tokenizer_class {PLAIN} instead of {named or 'the default'}, {reason}")


def _code(draft: Draft) -> None:
    """Remove the reference to tokenizer code of the source, which does not travel."""
    auto_map = draft.config.get("auto_map")
    if isinstance(auto_map, dict) and "AutoTokenizer" in auto_map:
        del auto_map["AutoTokenizer"]
    elif not isinstance(auto_map, list):
        return
    if not auto_map or isinstance(auto_map, list):
        del draft.config["auto_map"]
    draft.changed("auto_map", "auto_map removed: it points to code that is not copied")


def _slow_prefix_space(draft: Draft) -> None:
    config = draft.config
    name = str(config.get("tokenizer_class")).removesuffix("Fast")
    file, value = _SLOW_FILE.get(name), config.get("add_prefix_space")
    if file is None or value is None or file in draft.files:
        return
    del config["add_prefix_space"]
    message = f"add_prefix_space removed: transformers 4 would look for {file}, which is not there"
    top = (draft.fast or {}).get("pre_tokenizer")
    parts = top.get("pretokenizers") if isinstance(top, Mapping) else None
    steps = (top, *(parts if isinstance(parts, list) else ()))
    byte_level = any(isinstance(step, Mapping) and step.get("type") == "ByteLevel" for step in steps)
    # 5 rebuilds these classes with the space, and not at all where tokenizer.json is byte-level.
    if not value or byte_level:
        config["tokenizer_class"] = PLAIN
        message += f"; tokenizer_class {PLAIN} instead of {name}, which would add the space in transformers 5"
    draft.changed("add_prefix_space", message)


def _byte_level(draft: Draft) -> None:
    """Repeat the setting of tokenizer.json, which transformers 4 overrules and 5, for the plain classes, does not."""
    top = (draft.fast or {}).get("pre_tokenizer")
    if not isinstance(top, Mapping) or top.get("type") != "ByteLevel":
        return
    wanted, value = top.get("add_prefix_space"), draft.config.get("add_prefix_space", False)
    if draft.config.get("tokenizer_class") not in _PLAIN or not isinstance(wanted, bool) or value in (None, wanted):
        return
    draft.config["add_prefix_space"] = wanted
    message = f"add_prefix_space {str(wanted).lower()} as in tokenizer.json, which transformers 4 overrules"
    draft.changed("add_prefix_space", message)
