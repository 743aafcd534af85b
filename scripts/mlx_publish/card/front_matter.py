"""The card's front matter, by allow-list: what the source says of licence and language, the rest ours.

Keys: https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

_PLAIN = re.compile(r"[A-Za-z][\w./-]*")
# YAML 1.1, which some readers of the Hub's cards still speak, takes these for something else than text.
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def front_matter(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Build the metadata of one published variant."""
    licence, source, variant = evidence["licence"], evidence["source"], evidence["variant"]
    data: dict[str, Any] = {
        "license": licence["id"],
        "license_name": licence["name"],
        "license_link": licence["link"],
        "language": evidence["language"],
        "library_name": "mlx",
        "pipeline_tag": "text-generation",
        "base_model": source["base_model"],
        "base_model_relation": "quantized" if variant["quantized"] and source["base_model"] else None,
        "tags": _tags(evidence),
    }
    # Name and link belong to the licence 'other' alone.
    if licence["id"] != "other":
        data["license_name"] = data["license_link"] = None
    return {key: value for key, value in data.items() if value not in (None, [], "")}


def front_matter_text(data: Mapping[str, Any]) -> str:
    """YAML between its two fences; every text stays a text for readers of YAML 1.1 and 1.2."""
    yaml, out = YAML(), io.StringIO()
    yaml.width = 4096
    yaml.dump({key: _quoted(value) for key, value in data.items()}, out)
    return f"---\n{out.getvalue()}---\n"


def _tags(evidence: Mapping[str, Any]) -> list[str]:
    smoke, bits = evidence["smoke"], evidence["variant"]["bits"]
    tags = ["mlx"]
    if smoke and smoke["chat_template"]:
        tags.append("conversational")
    if bits:
        tags.append(f"{bits}-bit")
    return tags


def _quoted(value: object) -> object:
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    if isinstance(value, str) and not (_PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT):
        return DoubleQuotedScalarString(value)
    return value
