"""The source's card in, the front matter of ours out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from mlx_publish.card.front_matter import front_matter
from mlx_publish.card.render import render_card
from mlx_publish.checks.licence import licence, licence_of
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.model.card import parse_card
from samples import make_evidence, make_recipe, record

FILES = ("LICENSE", "config.json", "notes.txt")


def ours(readme: str, **recipe: Any) -> tuple[str, dict[str, Any]]:
    """What becomes of the licence, and our front matter."""
    card, asked = parse_card(readme), make_recipe(**recipe)
    found = licence_of(asked, card)
    evidence = make_evidence(
        licence={"id": found.id, "name": found.name, "link": found.link},
        language=list(asked.spec.language or card.texts("language")),
    )
    evidence["source"]["pipeline_tag"] = card.text("pipeline_tag")
    return licence(asked, card, FILES).status, front_matter(Evidence.of(evidence))


def source(*lines: str) -> str:
    return "\n".join(("---", *lines, "---", "# Their card", ""))


GOOD = "license: apache-2.0"
OTHER = {"license": "other", "license_name": "Own", "license_link": "https://example.org/own"}

LICENCES: list[tuple[Iterable[str], dict[str, Any], str, dict[str, Any]]] = [
    ((GOOD,), {}, "pass", {"license": "apache-2.0"}),
    (("license: MIT",), {}, "pass", {"license": "mit"}),
    (("language: en",), {}, "fail", {}),
    (("language: en",), {"license": "mit"}, "pass", {"license": "mit"}),
    (("license: other",), {}, "fail", {"license": "other"}),
    (("license: other", "license_name: Own"), {}, "fail", {"license": "other", "license_name": "Own"}),
    (("license: other",), OTHER, "pass", OTHER),
    (("license: other", "license_name: Own", "license_link: LICENSE"), {}, "pass", OTHER | {"license_link": "LICENSE"}),
    (
        ("license: other", "license_name: Own", "license_link: LICENSE.md"),
        {},
        "fail",
        {"license": "other", "license_name": "Own"},
    ),
    (
        ("license: other", "license_name: Own", "license_link: notes.txt"),
        {},
        "fail",
        {"license": "other", "license_name": "Own"},
    ),
    (
        ("license: other", "license_name: Own", "license_link: https://example.org/x"),
        {},
        "pass",
        OTHER | {"license_link": "https://example.org/x"},
    ),
    (("license: apache-2.0", "license_name: Own", "license_link: LICENSE"), {}, "pass", {"license": "apache-2.0"}),
    (("license: my-own-terms",), {}, "warn", {"license": "my-own-terms"}),
    (("license: [mit, gpl]",), {}, "fail", {}),
    (("license: '<b>x</b>'",), {}, "fail", {}),
    (("license: Apache License 2.0",), {}, "fail", {}),
    (("license: Apache License 2.0",), {"license": "apache-2.0"}, "pass", {"license": "apache-2.0"}),
]


@pytest.mark.parametrize(("lines", "recipe", "status", "keys"), LICENCES)
def test_licences(lines: Iterable[str], recipe: dict[str, Any], status: str, keys: dict[str, Any]) -> None:
    judged, data = ours(source(*lines), **recipe)
    assert judged == status
    assert {key: value for key, value in data.items() if key.startswith("license")} == keys


FOREIGN = (
    "model-index: [{name: x, results: [{task: {type: text-generation}, metrics: [{type: acc, value: 99}]}]}]",
    "base_model_relation: finetune",
    "base_model: [some/Base, other/Base]",
    "new_version: acme/Newer",
    "widget: [{text: Hi}]",
    "extra_gated_prompt: Accept our terms",
    "extra_gated_fields: {Name: text}",
    "inference: false",
    "datasets: [a/b]",
    "metrics: [accuracy]",
    "co2_eq_emissions: 1",
    "library_name: transformers",
    "thumbnail: https://example.org/x.png",
    "tags: [text-generation, best-model, 'region:us', 'arxiv:1234.5678']",
    "quantized_by: somebody",
    "pipeline_tag: text-generation",
)


@pytest.mark.parametrize("line", [*FOREIGN, "all"])
def test_claims_of_the_source_are_left_behind(line: str) -> None:
    lines = FOREIGN if line == "all" else (line,)
    assert ours(source(GOOD, "language: en", *lines)) == ours(source(GOOD, "language: en"))


LANGUAGES: list[tuple[str, list[str] | None]] = [
    ("language: en", ["en"]),
    ("language: no", ["no"]),
    ("language: [no, en]", ["no", "en"]),
    ("language: [en, EN, de]", ["en", "de"]),
    ("language: [y, en]", ["en"]),
    ("language: {en: 1}", None),
    ("language: english", None),
    ("language: [zh-Hans, pt-BR]", ["zh-Hans", "pt-BR"]),
    ("language: ['${{ x }}', '::error::x', en]", ["en"]),
    ("language: true", None),
    ("language: [multilingual]", ["multilingual"]),
]


@pytest.mark.parametrize(("line", "codes"), LANGUAGES)
def test_languages_are_texts_and_stand_once(line: str, codes: list[str] | None) -> None:
    assert ours(source(GOOD, line))[1].get("language") == codes


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        ("pipeline_tag: text-generation", "text-generation"),
        ("", "text-generation"),
        ("pipeline_tag: image-text-to-text", "text-generation"),
        ("pipeline_tag: feature-extraction", None),
        ("pipeline_tag: fill-mask", None),
        ("pipeline_tag: [a]", "text-generation"),
    ],
)
def test_the_task_is_what_the_converted_model_can_do(line: str, tag: str | None) -> None:
    assert ours(source(GOOD, line))[1].get("pipeline_tag") == tag


@pytest.mark.parametrize(
    ("readme", "problem"),
    [
        ("", "no front matter"),
        ("# Only text\n", "no front matter"),
        ("---\nlicense: [\n---\n", "not valid YAML at line"),
        ("---\n- a\n---\n", "not a mapping"),
        ("---\nlicense: mit\n", "no front matter"),
        ("---\na: &x [*x]\n---\n", ""),
    ],
)
def test_a_broken_front_matter_is_refused_for_its_licence_and_mended_by_the_recipe(readme: str, problem: str) -> None:
    assert problem in parse_card(readme).problem
    assert ours(readme)[0] == "fail"
    status, data = ours(readme, license="mit", language=["no"])
    assert (status, data["license"], data["language"]) == ("pass", "mit", ["no"])


def test_tags_are_ours_alone_and_stand_once() -> None:
    tags = ours(source(GOOD, "tags: mlx"))[1]["tags"]
    assert tags == ["mlx", "conversational", "4-bit"]
    assert len({tag.lower() for tag in tags}) == len(tags)


def test_a_template_that_was_not_proven_is_no_conversation() -> None:
    evidence = make_evidence()
    assert "conversational" in list(front_matter(Evidence.of(evidence))["tags"] or [])
    for check in evidence["checks"]:
        if check["id"] == "template-renders":
            check["status"] = "warn"
    assert "conversational" not in list(front_matter(Evidence.of(evidence))["tags"] or [])


def test_a_link_that_leads_nowhere_is_no_link_on_the_card() -> None:
    licence = {"id": "other", "name": "Own", "link": "../x"}
    assert "../x" not in render_card("x", "x", "", record(licence=licence))
