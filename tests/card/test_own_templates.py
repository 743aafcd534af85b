"""A repo's own templates: what they may replace, what they cannot do, and how they are bound to the evidence."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.card.environment import deadline
from mlx_publish.card.render import render, render_card
from mlx_publish.card.templates import find_templates, packaged, read_templates
from mlx_publish.errors import BadInput, PublishError, Refused
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Variant
from samples import make_evidence, record

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write templates, by name, into a folder."""

    def write(**texts: str) -> Path:
        folder = tmp_path / "templates/card"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / f"{name}.md.j2").write_text(text, encoding="utf-8")
        return folder

    return write


def card(folder: Path | None, evidence: Mapping[str, Any] | None = None) -> str:
    own = read_templates(folder)
    found = dict(evidence or make_evidence()) | {"templates": own.digests if own else {}}
    return render_card("Tiny-4bit", "acme/Tiny-4bit", "", Evidence.of(found), folder)


OURS = card(None)


def test_a_file_of_the_same_name_takes_the_place_of_ours(put: Put) -> None:
    text = card(put(licence="## Ours alone\n\nBy {{ e.source.repo }}.\n"))
    assert text.endswith("## Ours alone\n\nBy acme/Tiny.\n")
    assert "Licence and credit" not in text
    assert text.partition("## Ours alone")[0] == OURS.partition("## Licence and credit")[0]


EXTENDED = """\
{% extends "mlx-publish/card/README.md.j2" %}
{% block title %}
# {{ name }}, by us
{% endblock %}
{% block more %}
## House rules

{{ super() }}Ask first.
{% endblock %}
"""


def test_a_block_can_be_replaced_and_a_section_added(put: Put) -> None:
    text = card(put(README=EXTENDED))
    assert "\n# Tiny-4bit, by us\n\n4-bit [MLX](https://github.com/ml-explore/mlx) conversion of [acme/Tiny]" in text
    assert "\n## House rules\n\nAsk first.\n\n## Licence and credit\n" in text


def test_a_new_file_can_be_included_and_one_of_ours_be_wrapped(put: Put) -> None:
    text = card(
        put(
            made='{% include "mlx-publish/card/made.md.j2" %}\n{% include "card/mine.md.j2" %}\n',
            mine="- By hand: nothing\n",
        )
    )
    assert "by mlx-publish 0.2.0\n" in text
    assert "[mlx-publish.json](mlx-publish.json)\n- By hand: nothing\n" in text


def test_a_copy_of_ours_is_no_template_of_ones_own(put: Put) -> None:
    assert read_templates(put(licence=packaged()["licence.md.j2"])) is None


HOSTILE = "<b>*x* [y](z) `a` | {{ 7 }} @me"
WAYS = {
    "printed": "{{ e.source.name }}",
    "set": "{% set it %}{{ e.source.name }}{% endset %}{{ it }}",
    "macro": "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(e.source.name) }}",
    "called": "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ e.source.name }}{% endcall %}",
    "joined": "{{ [e.source.name] | join }}",
    "added": '{{ "" ~ e.source.name }}',
    "filtered": "{{ e.source.name | md }}",
    "replaced": '{{ e.source.name | replace("q", "r") }}',
    "forced": "{{ e.source.name | safe }}",
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_prints_a_strangers_words_shows_them_as_text(way: str, put: Put) -> None:
    evidence = make_evidence()
    evidence["source"] |= {"name": HOSTILE, "repo": None}
    text = card(put(licence=f"## L\n\n{WAYS[way]}\n"), evidence)
    assert text.endswith("\\<b\\>\\*x\\* \\[y\\](z) \\`a\\` \\| \\{\\{ 7 \\}\\} \\@me\n")


ESCAPES = (
    "{{ ''.__class__.__mro__ }}",
    "{{ e.__class__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ e.update({'generator': 'x'}) }}",
    "{{ e.clear() }}",
    "{{ ladder.append(1) }}",
    "{{ lipsum.__globals__ }}",
    "{{ ('%s' | format).__self__ }}",
    "{{ '{0.__class__}'.format(e) }}",
)


@pytest.mark.parametrize("text", ESCAPES)
def test_nothing_gets_out_of_the_sandbox(text: str, put: Put) -> None:
    with pytest.raises(BadInput, match=r"licence\.md\.j2:3"):
        card(put(licence=f"## L\n\n{text}\n"))


WRONG = {
    "syntax": ("{% if %}", "TemplateSyntaxError"),
    "unknown name": ("{{ nothing }}", "'nothing' is undefined"),
    "unknown key": ("{{ e.nothing }}", "has no attribute 'nothing'"),
    "missing template": ('{% include "card/none.md.j2" %}', "there is no template card/none.md.j2"),
    "of another room": ('{% include "review/body.md.j2" %}', "there is no template"),
    "out of the folder": ('{% include "card/../../secret" %}', "there is no template"),
    "itself": ('{% include "card/licence.md.j2" %}', "include or extend each other without an end"),
    "too many": ("{{ range(10 ** 9) | list }}", "Range too big"),
    "a bug of its own": ("{{ 1 // 0 }}", "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_names_file_and_line(name: str, put: Put) -> None:
    text, words = WRONG[name]
    folder = put(licence=f"## L\n\n{text}\n")
    with pytest.raises(BadInput) as error:
        card(folder)
    assert words in error.value.message
    assert str(error.value.place).startswith(f"{folder}/licence.md.j2")


def test_templates_are_those_of_the_evidence_or_no_card_is_made(put: Put) -> None:
    folder = put(licence="## L\n")
    evidence = record(templates=read_templates(folder).digests)  # type: ignore[union-attr]
    assert render_card("x", "x", "", evidence, folder).endswith("## L\n")
    put(licence="## M\n")
    for there, words in ((folder, "has changed"), (None, "is gone")):
        with pytest.raises(Refused, match=f"licence.md.j2 {words} since the evidence was made"):
            render_card("x", "x", "", evidence, there)
    with pytest.raises(Refused, match="is new"):
        render_card("x", "x", "", record(), folder)


def test_they_are_found_beside_the_recipe_within_its_repo(put: Put, tmp_path: Path) -> None:
    folder = put(licence="## L\n")
    recipe = tmp_path / "repo/recipes/deep/r.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text("source: acme/Tiny\nto: acme/{source}-{variant}\n")
    # Without git only beside the file and one above it; what lies further up is somebody else's.
    assert find_templates(recipe) is None
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "repo")], check=True)
    assert find_templates(recipe) is None
    folder.parent.rename(tmp_path / "repo/templates")
    assert find_templates(recipe) == tmp_path / "repo/templates/card"
    own = read_templates(find_templates(recipe))
    assert own is not None
    evidence = record(templates=own.digests)
    assert render(recipe_from_file(recipe), Variant(), evidence).endswith("## L\n")


def test_a_link_out_of_the_folder_and_a_chart_of_ones_own_are_refused(put: Put, tmp_path: Path) -> None:
    folder = put()
    (tmp_path / "secret").write_text("x")
    (folder / "licence.md.j2").symlink_to(tmp_path / "secret")
    with pytest.raises(BadInput, match="link that leads out"):
        read_templates(folder)
    (folder / "licence.md.j2").unlink()
    (folder / "ladder.svg.j2").write_text("<svg/>")
    with pytest.raises(BadInput, match="drawn by code"):
        read_templates(folder)
    (folder / "ladder.svg.j2").unlink()
    (folder / "licence.md.j2").write_bytes(b"\xff\xfe")
    with pytest.raises(PublishError, match="cannot be read"):
        read_templates(folder)


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% if b < 0 %}x{% endif %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ENDLESS, "takes longer than"),
        ("line\n{% for a in range(99999) %}{{ 'twelve chars' }}{% endfor %}\n", "prints more than"),
        ("{{ 'x' * 10 ** 9 }}\n", "multiplies to more than"),
        ("{{ 10 ** 99999 }}\n", "a power with more than"),
        ("{{ ([0] * 9999999) | length }}\n", "multiplies to more than"),
        ("{% macro m() %}" + ENDLESS + "{% endmacro %}{{ m() }}", "takes longer than"),
    ],
)
def test_a_template_without_end_is_stopped_and_named(
    put: Put, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlx_publish.card.environment.deadline", lambda: deadline(0.5))
    folder = put(limits=text)
    with pytest.raises(BadInput, match=said) as caught:
        card(folder)
    assert str(caught.value.place).startswith(str(folder))
    assert re.search(r"limits\.md\.j2:\d+$", str(caught.value.place)) or said == "prints more than"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_multiplication_within_reason_works(put: Put) -> None:
    text = card(put(limits="{{ 'ab' * 3 }} {{ 3 * 4 }} {{ 2 ** 3 }} {{ 3 * 0.5 }}\n"))
    assert "\nababab 12 8 1.5\n" in text


def test_templates_see_evidence_as_plain_data(put: Put) -> None:
    words = "{{ e.items() | length }} {{ e.source.keys() | first }} {{ e.proof is defined }} {{ 'more' in e.config }}"
    rungs = "{{ here.items() | length }} {{ (ladder | first).get('label') }} {{ choice.keys() | join('-') }}"
    tables = "{{ e.fidelity | how_close }} {{ e.benchmark.lengths[0].prompt_tps | spread }}"
    text = card(put(licence=f"## L\n\n{words}\n\n{rungs}\n\n{tables}\n"))
    assert f"{len(make_evidence())} name False False\n" in text
    assert f"{len(make_evidence()['ladder'][0])} 4bit take-better-closest\n" in text
    assert "very close: hard to tell apart from the source in use 2,000 (1,960 to 2,040)" in text
