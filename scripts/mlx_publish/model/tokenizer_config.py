"""A tokenizer_config.json for a source that has none: the class that reads tokenizer.json as it is, and the roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish.model.portable import PLAIN
from mlx_publish.model.stopping import stop_ids_in

ROLES = ("bos_token", "eos_token", "pad_token")


def made_config(
    special_tokens: Mapping[str, str], config: Mapping[str, Any], ids: Mapping[str, int]
) -> dict[str, str]:  # fmt: skip
    """Write one from the roles that special_tokens_map.json names, else from the ids of config.json.

    `ids` are those of tokenizer.json by text. Without the file a library would take the class of the model's type,
    which may read text otherwise, and no end.
    """
    texts = {id_: text for text, id_ in ids.items()}
    found = {role: special_tokens[role] for role in ROLES if role in special_tokens}
    for role in ROLES:
        named = stop_ids_in(config)[:1] if role == "eos_token" else (config.get(f"{role}_id"),)
        text = next((texts[id_] for id_ in named if type(id_) is int and id_ in texts), None)
        if text is not None:
            found.setdefault(role, text)
    return {"tokenizer_class": PLAIN, **found}
