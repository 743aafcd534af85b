"""What a template reads besides what every caller gives: options, slips of the pen, switches for thinking."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mlx_publish.chat.capabilities import capabilities
from mlx_publish.chat.described import described
from mlx_publish.chat.look import look
from mlx_publish.chat.properties import surprising_variables
from mlx_publish.chat.variables import reads
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.template_abilities import ABILITIES
from mlx_publish.checks.template_facts import TemplateFacts
from tiny_tokenizer import CHATML


def surprises(template: str) -> tuple[str, ...]:
    return surprising_variables(look({"default": template + CHATML}, {}))


NO_SLIPS = {
    "a macro": "{% macro line(a) %}{{ a }}{% endmacro %}{{ line('x') }}",
    "a macro that calls itself": "{% macro f(n) %}{% if n %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(2) }}",
    "a macro that calls one below it": "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}x{% endmacro %}{{ f() }}",
    "a macro on one path only": "{% if messages %}{% macro f() %}x{% endmacro %}{% endif %}{{ f() }}",
    "behind is defined": "{% if my_style is defined %}{{ my_style }}{% endif %}",
    "behind is not defined": "{% if my_style is not defined %}{% set my_style = 'x' %}{% endif %}{{ my_style }}",
    "is defined somewhere, printed elsewhere": "{{ 'x' if my_style is defined }}{{ my_style }}",
    "a default": "{{ my_style | default('plain') }}",
    "a default, in short": "{% set style = my_style | d('plain') | upper %}{{ style }}",
    "asked for before it is used": "{% if my_style %}{{ my_style | upper }}{% endif %}",
    "asked for and compared": "{% if my_style and my_style != 'plain' %}{{ my_style }}{% endif %}",
    "compared": "{{ 'x' if my_style == 'fancy' else 'y' }}{{ 'z' if 'fancy' in my_style }}",
    "another in its place": "{% set style = my_style or 'plain' %}{{ style }}",
    "documented options": "{{ response_format }}{{ tool_choice }}{{ thinking_mode }}{{ enable_citations }}"
    "{{ safety_mode }}{{ python_tools }}{{ xml_tools }}{{ reasoning_effort }}",
}


@pytest.mark.parametrize("case", NO_SLIPS)
def test_an_option_is_no_slip_of_the_pen(case: str) -> None:
    assert surprises(NO_SLIPS[case]) == ()


SLIPS = {
    "printed": ("{{ my_style }}", "my_style"),
    "looped over": ("{% for one in my_list %}{{ one }}{% endfor %}", "my_list"),
    "called": ("{{ my_macro('x') }}", "my_macro"),
    "asked for, and used elsewhere": ("{{ 'x' if my_style }}{{ my_style }}", "my_style"),
    "the other branch": ("{{ 'x' if my_style else my_style.name }}", "my_style"),
    "tools, misspelt": ("{% if tool %}x{% endif %}", "tool"),
    "messages, misspelt": ("{% if mesages %}x{% endif %}", "mesages"),
    "add_generation_prompt, misspelt": ("{% if add_generation_promt %}x{% endif %}", "add_generation_promt"),
    "a name of its own, misspelt": ("{% set last_query = 1 %}{{ 'x' if last_qeury }}", "last_qeury"),
}


@pytest.mark.parametrize("case", SLIPS)
def test_a_slip_of_the_pen_is_named(case: str) -> None:
    template, name = SLIPS[case]
    assert surprises(template) == (name,)


SWITCHES: dict[str, tuple[str, dict[str, list[Any]]]] = {
    "thinking": ("{{ '<think>' if thinking }}", {"thinking": [True]}),
    "thinking, with a default": (
        "{% if not thinking is defined %}{% set thinking = true %}{% endif %}{{ '<think>' if thinking }}",
        {"thinking": [False]},
    ),
    "reasoning": ("{% if reasoning is false %}<think></think>{% endif %}", {"reasoning": [False]}),
    "reasoning_effort, printed": (
        "Effort: {{ reasoning_effort | default('medium') }}",
        {"reasoning_effort": ["low", "high"]},
    ),
    "reasoning_effort, compared": (
        "{% if reasoning_effort in ['minimal', 'maximal'] %}{{ reasoning_effort }}{% endif %}",
        {"reasoning_effort": ["minimal", "maximal"]},
    ),
    "thinking_budget": (
        "{% if thinking_budget is defined %}{{ 'none' if thinking_budget == 0 else thinking_budget }}{% endif %}",
        {"thinking_budget": [0, 512]},
    ),
    "thinking_mode": (
        "{% set thinking_mode = thinking_mode | default('chat') %}{{ '<think>' if thinking_mode == 'thinking' }}",
        {"thinking_mode": ["thinking"]},
    ),
    "thinking_mode, nothing to compare with": (
        "{{ thinking_mode }}",
        {"thinking_mode": ["on", "off", "enabled", "disabled"]},
    ),
    "in a macro": (
        "{% macro head() %}{% set reasoning_effort = reasoning_effort | d('x') %}{{ reasoning_effort }}{% endmacro %}{{ head() }}",
        {"reasoning_effort": ["low", "high"]},
    ),
    "one that changes no first prompt": (
        "{{ 'x' if preserve_thinking and messages | length > 9 }}",
        {"preserve_thinking": []},
    ),
    "two of them": (
        "{{ '<think>' if thinking }}{{ reasoning_effort }}",
        {"reasoning_effort": ["low", "high"], "thinking": [True]},
    ),
}


@pytest.mark.parametrize("case", SWITCHES)
def test_a_switch_of_another_name_is_named_and_tried(case: str) -> None:
    template, wanted = SWITCHES[case]
    view = look({"default": CHATML + template}, {})
    can = capabilities(view)
    assert can.switches == wanted
    assert can.thinking == ("other" if any(wanted.values()) else "none")
    (finding,) = (entry for entry in run_checks(ABILITIES, TemplateFacts(view, can, None)) if entry.id == "thinking")
    assert finding.status == "pass"
    assert all(name in finding.message for name in wanted)
    assert all(name in dict(described(can))["Thinking"] for name in wanted)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% set reasoning_content = m.reasoning_content or '' %}{{ reasoning_content }}{% endfor %}",
        "{% set thinking = 'x' %}{{ thinking }}",
        "{% set ns = namespace(thinking=1) %}{{ ns.thinking }}",
    ],
)
def test_what_a_template_sets_for_itself_is_no_switch(template: str) -> None:
    assert look({"default": CHATML + template}, {}).switched == ()


def test_beside_the_usual_switch_others_are_told_too() -> None:
    template = CHATML + "{{ '<think>' if enable_thinking }}{{ reasoning_effort }}"
    can = capabilities(look({"default": template}, {}))
    assert (can.thinking, can.switches) == ("switch", {"reasoning_effort": ["low", "high"]})
    assert dict(described(can))["Thinking"] == 'enable_thinking, off by default; reasoning_effort ("low", "high")'


def test_a_template_that_does_harm_for_one_value_of_a_switch_is_unsafe() -> None:
    view = look({"default": CHATML + "{{ messages.__class__ if reasoning_effort == 'high' }}"}, {})
    assert [name for name, _ in view.unsafe] == ['reasoning_effort="high"']


def test_of_hostile_switches_few_are_tried_and_none_is_long() -> None:
    names = "".join(f"{{{{ thinking_{number} == '{'x' * 5000}' or reasoning_{'y' * 5000} }}}}" for number in range(99))
    switches = reads(names + "{{ thinking_budget == 1" + "0" * 4000 + " }}").switches
    assert len(switches) <= 8
    assert all(len(name) <= 40 and len(values) <= 8 for name, values in switches.items())
    assert all(len(str(value)) <= 40 for values in switches.values() for value in values)


def test_a_giant_is_not_read() -> None:
    begun = time.monotonic()
    assert reads("{{ a }}" * 4_000_000).variables == set()
    assert time.monotonic() - begun < 1
