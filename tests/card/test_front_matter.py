"""Metadata by allow-list, the same for every reader of YAML."""

from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it comes with huggingface_hub
from ruamel.yaml import YAML

from mlx_publish.card.front_matter import front_matter, front_matter_text
from samples import make_evidence, record

OTHER = {"id": "other", "name": "Own licence", "link": "https://example.org/x"}


def variant(**changes: Any) -> dict[str, Any]:
    return {**make_evidence()["variant"], **changes}


def both_readers(data: dict[str, Any]) -> tuple[Any, Any]:
    """What YAML 1.1 (as huggingface_hub reads it) and YAML 1.2 make of the text."""
    text = front_matter_text(data)
    assert text.startswith("---\n")
    assert text.endswith("\n---\n")
    body = text[4:-4]
    return yaml.safe_load(body), YAML(typ="safe", pure=True).load(body)


def test_the_keys_are_ours_in_their_order() -> None:
    assert list(front_matter(record()).items()) == [
        ("license", "apache-2.0"),
        ("language", ["en"]),
        ("library_name", "mlx"),
        ("pipeline_tag", "text-generation"),
        ("base_model", "acme/Tiny"),
        ("base_model_relation", "quantized"),
        ("quantized_by", "acme"),
        ("tags", ["mlx", "conversational", "4-bit"]),
    ]


@pytest.mark.parametrize(
    ("changes", "tags"),
    [
        ({"smoke": None}, ["mlx", "4-bit"]),
        ({"smoke": make_evidence()["smoke"] | {"chat_template": False}}, ["mlx", "4-bit"]),
        ({"variant": variant(bits=None, mixed="mixed_3_6")}, ["mlx", "conversational"]),
        ({"variant": variant(quantized=False, bits=None, dtype="bfloat16")}, ["mlx", "conversational"]),
        ({"variant": variant(bits=8)}, ["mlx", "conversational", "8-bit"]),
    ],
)
def test_tags(changes: dict[str, Any], tags: list[str]) -> None:
    assert front_matter(record(**changes))["tags"] == tags


def test_only_what_is_quantized_from_a_known_model_says_so() -> None:
    unquantized = front_matter(record(variant=variant(quantized=False, bits=None)))
    assert "base_model_relation" not in unquantized
    assert unquantized["base_model"] == "acme/Tiny"
    nameless = front_matter(record(source=make_evidence()["source"] | {"base_model": None}))
    assert not {"base_model", "base_model_relation"} & set(nameless)


def test_name_and_link_belong_to_other_licences_alone() -> None:
    found = front_matter(record(licence=OTHER))
    assert list(found.items())[:3] == [
        ("license", "other"),
        ("license_name", "Own licence"),
        ("license_link", "https://example.org/x"),
    ]
    assert not {"license_name", "license_link"} & set(front_matter(record(licence=OTHER | {"id": "mit"})))


def test_nothing_else_of_the_evidence_arrives() -> None:
    more = {"model_index": [{"x": 1}], "widget": ["x"], "new_version": "x/y", "license": "gpl"}
    loud = record(source=make_evidence()["source"] | more)
    assert front_matter(loud) == front_matter(record())


def test_empty_values_are_left_out() -> None:
    found = front_matter(record(language=[], licence={"id": None, "name": "", "link": None}))
    assert "language" not in found
    assert "license" not in found


TRAPS = (
    "no", "NO", "No", "yes", "on", "Off", "y", "N", "true", "False", "null", "NULL", "~", "", " ", "-", "?", ":", "=", "<<",
    "123", "1e3", "1_000", "0x1f", "0o17", "017", "1.5", ".5", ".inf", ".NaN", "-.INF", "12:30:45", "190:20:30",
    "2024-01-05", "2024-01-05T10:00:00Z", "a: b", "a #b", "#x", "- x", "[x]", "{x: y}", "*x", "&x", "!x", "!!int x",
    "|", ">", "%x", "@x", "`x", "'", '"', "it's", 'say "x"', "a\nb", "a\n---\nb: c", "---", "...", "a\tb", "\\n", "a\\",
    " lead", "trail ", "ü", "🌒", "\u2028", "\u00a0x", "\x07", "\x1b[31m", "\x85", "\ufeffx", "x" * 5000, "word " * 1000,
    "en", "apache-2.0", "https://example.org/a?b=c#d", "${{ github.token }}", "::set-output name=x::y", "{{ 7 * 7 }}",
    "a, b", "license: gpl", "CC BY 4.0",
)  # fmt: skip


@pytest.mark.parametrize("text", TRAPS)
def test_text_is_the_same_text_for_both_readers(text: str) -> None:
    data = {"license_name": text, "language": [text, "en"], "tags": ["mlx"]}
    assert both_readers(data) == (data, data)


def test_a_text_cannot_end_the_front_matter() -> None:
    lines = front_matter_text({"license_name": "a\n---\nlicense: gpl\n---\n", "tags": ["---"]}).splitlines()
    assert [number for number, line in enumerate(lines) if line.startswith("---")] == [0, len(lines) - 1]


@pytest.mark.parametrize("licence", [OTHER, {"id": "no", "name": None, "link": None}])
def test_whole_metadata_survives(licence: dict[str, Any]) -> None:
    data = front_matter(record(licence=licence, language=["no", "en"]))
    assert both_readers(data) == (data, data)
    assert data["language"] == ["no", "en"]


def test_plain_words_stay_unquoted() -> None:
    assert front_matter_text({"license": "apache-2.0", "tags": ["mlx", "4-bit"]}) == (
        '---\nlicense: apache-2.0\ntags:\n- mlx\n- "4-bit"\n---\n'
    )
