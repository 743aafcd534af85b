"""Our templates come compiled with the package: the same cards, and never of another text or for another Jinja."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import jinja2
import pytest

from mlx_publish.card import compiled, loader
from mlx_publish.card.environment import BASE, CardEnvironment, environment
from mlx_publish.card.render import render_card
from mlx_publish.card.templates import CHART, digest, packaged
from mlx_publish.evidence.evidence import Evidence
from samples import make_evidence

TITLE = "README.md.j2"
CODE = Path(compiled.__file__).read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    environment.cache_clear()
    yield
    environment.cache_clear()


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The templates that Jinja compiles during a test."""
    names: list[str] = []
    compile_ = CardEnvironment.compile

    def counted(self: CardEnvironment, source: str, name: str, *more: object, **options: object) -> object:
        names.append(name)
        return compile_(self, source, name, *more, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(CardEnvironment, "compile", counted)
    return names


def card() -> str:
    return render_card("Tiny-4bit", "acme/Tiny-4bit", "Some notes.", Evidence.of(make_evidence()))


def with_templates(monkeypatch: pytest.MonkeyPatch, texts: Mapping[str, str]) -> None:
    monkeypatch.setattr(loader, "packaged", lambda: texts)


@pytest.mark.parametrize("name", sorted(packaged().keys() - {CHART}))
def test_the_code_in_the_package_is_what_jinja_makes_of_the_template(name: str) -> None:
    code = CardEnvironment(None).compile(packaged()[name], f"card/{name}", name, raw=True, defer_init=True)
    assert compiled.TEMPLATES[name][0] == digest(packaged()[name])
    assert jinja2.__version__ == compiled.JINJA
    assert f"(environment):\n{textwrap.indent(code, '    ')}\n    return locals()\n" in CODE


def test_a_card_needs_no_compilation(compilations: list[str]) -> None:
    assert "Some notes." in card()
    assert compilations == []


def test_another_jinja_compiles_the_templates_to_the_same_card(
    compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = card()
    environment.cache_clear()
    monkeypatch.setattr(compiled, "JINJA", "3.0.0")
    assert card() == text
    assert BASE in compilations


def test_a_template_that_was_edited_is_compiled_again(compilations: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    edited = packaged()[TITLE].replace("# {{ name }}", "# {{ name }}, edited")
    assert edited != packaged()[TITLE]
    with_templates(monkeypatch, {**packaged(), TITLE: edited})
    assert "\n# Tiny-4bit, edited\n" in card()
    assert compilations == [BASE]
