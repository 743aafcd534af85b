"""Dialogues that clients send: calls without text, several calls, odd tools, results and system texts in parts."""

from __future__ import annotations

import pytest

from mlx_publish.chat.capabilities import Capabilities, capabilities
from mlx_publish.chat.described import described
from mlx_publish.chat.look import look
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.template_abilities import ABILITIES
from mlx_publish.checks.template_facts import TemplateFacts
from mlx_publish.evidence.measurements import CapabilitiesSpec
from mlx_publish.evidence.report import Finding

HEAD = "{{ tools | tojson if tools }}{% for m in messages %}<|im_start|>{{ m.role }}\n"
CALLS = "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
TEXT = "{{ m.content if m.content is string else m.content[0].text if m.content }}"
END = "<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' if add_generation_prompt }}"
WHOLE = HEAD + CALLS + TEXT + END
TOOLS = "{% for t in tools or [] %}LINE\n{% endfor %}" + WHOLE.replace("{{ tools | tojson if tools }}", "")


def of(template: str) -> Capabilities:
    return capabilities(look({"default": template}, {}))


def finding(template: str, check: str) -> Finding:
    view = look({"default": template}, {})
    findings = run_checks(ABILITIES, TemplateFacts(view, capabilities(view), None))
    return next(entry for entry in findings if entry.id == check)


def test_of_a_template_that_takes_everything_nothing_odd_is_said() -> None:
    can = of(WHOLE)
    assert set(can.calls.values()) == {"shown"}
    assert set(can.tool_forms.values()) == {"listed"}
    assert (can.system_later, can.developer, can.system_parts, can.result_parts) == ("kept", "kept", "shown", "shown")
    assert {finding(WHOLE, check).status for check in ("roles", "tools", "parts", "turns")} == {"pass"}
    rows = dict(described(can))
    assert (rows["Forms of calls"], rows["Forms of tools"]) == ("all shown", "all listed")


# A change of WHOLE, the dialogue that it breaks, how, and what is said of it.
CALLED = {
    "a call whose message has no text": (
        WHOLE.replace(TEXT, "{{ m.content + '' if m.content is not mapping }}").replace(
            "m.content + ''", "'' + m.content"
        ),
        "call without text",
        "refused",
        "a call whose message has no text (null) is refused",
    ),
    "the first call alone": (
        WHOLE.replace("in m.tool_calls or []", "in (m.tool_calls or [])[:1]"),
        "two calls",
        "lost",
        "two calls in one turn are lost",
    ),
    "one call alone": (
        WHOLE.replace(CALLS, "{{ raise_exception('one') if m.tool_calls and m.tool_calls | length > 1 }}" + CALLS),
        "two calls",
        "refused",
        "two calls in one turn are refused",
    ),
    "one round alone": (
        WHOLE.replace(HEAD, "{% set n = namespace(calls=0) %}" + HEAD).replace(
            CALLS,
            "{% if m.tool_calls %}{% set n.calls = n.calls + 1 %}{% endif %}{% if n.calls < 2 %}"
            + CALLS
            + "{% endif %}",
        ),
        "two rounds",
        "lost",
        "calls in two rounds are lost",
    ),
}


@pytest.mark.parametrize("case", CALLED)
def test_a_form_of_calls_that_breaks_is_told_and_the_others_are_fine(case: str) -> None:
    template, dialogue, how, words = CALLED[case]
    can, verdict = of(template), finding(template, "tools")
    assert can.calls == dict.fromkeys(can.calls, "shown") | {dialogue: how}
    assert (verdict.status, verdict.message.rpartition("; ")[2]) == ("warn", words)
    assert dialogue in dict(described(can))["Forms of calls"]


NAMED = "{{ t.function.name }}{% for k, v in (t.function.parameters or {'properties': {}}).properties.items() %}"
TOLD = {
    "without a description": (
        "{{ t.function.name + ': ' + t.function.description }} {{ t.function.parameters | string }}",
        "tool without description",
        "refused",
        "a tool without a description is refused",
    ),
    "without parameters": (
        "{% for k, v in t.function.parameters.properties.items() %}{{ t.function.name }} {{ k }} {{ v }}{% endfor %}",
        "tool without parameters",
        "refused",
        "a tool without parameters is refused",
    ),
    "types by their names": (
        NAMED + "{{ k }}: {{ v.type if v.type is string else 'any' if v.type else (v.anyOf | string) }}{% endfor %}",
        "type as a list",
        "untyped",
        "a parameter's type as a list loses the types",
    ),
    "no anyOf": (
        NAMED + "{{ k }}: {{ v.type }}{% endfor %}",
        "anyOf",
        "untyped",
        "anyOf in a parameter loses the types",
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_a_form_of_tools_that_breaks_is_told_and_the_others_are_fine(case: str) -> None:
    line, dialogue, how, words = TOLD[case]
    template = TOOLS.replace("LINE", line)
    can, verdict = of(template), finding(template, "tools")
    assert can.tools == "listed"
    assert can.tool_forms == dict.fromkeys(can.tool_forms, "listed") | {dialogue: how}
    assert (verdict.status, verdict.message.rpartition("; ")[2]) == ("warn", words)
    assert dialogue in dict(described(can))["Forms of tools"]


def test_a_macro_without_end_on_odd_types_refuses_these_tools_and_not_the_model() -> None:
    macro = "{% macro type(t) %}{% if t is string %}{{ t }}{% else %}{{ type(t) }}{% endif %}{% endmacro %}"
    line = "{{ t.function.name }}{% if t.function.parameters %}{{ type(t.function.parameters.properties.place.type) }}{% endif %}"
    view = look({"default": macro + TOOLS.replace("LINE", line)}, {})
    assert view.unsafe == ()
    assert capabilities(view).tool_forms["type as a list"] == "refused"


@pytest.mark.parametrize(
    ("before", "later", "developer", "status"),
    [
        ("", "kept", "kept", "pass"),
        ("{{ raise_exception('no') if m.role == 'developer' }}", "kept", "refused", "pass"),
        ("{{ raise_exception('no') if m.role == 'system' and not loop.first }}", "refused", "kept", "pass"),
        ("{% if m.role == 'developer' %}{% continue %}{% endif %}", "kept", "lost", "warn"),
        ("{% if m.role == 'system' and not loop.first %}{% continue %}{% endif %}", "lost", "kept", "warn"),
    ],
)
def test_later_system_texts_and_the_role_developer(before: str, later: str, developer: str, status: str) -> None:
    template = WHOLE.replace("<|im_start|>{{ m.role }}", before + "<|im_start|>{{ m.role }}")
    can, verdict = of(template), finding(template, "roles")
    assert (can.system_later, can.developer, verdict.status) == (later, developer, status)
    assert ("vanishes without an error" in verdict.message) is (status == "warn")


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("{{ m.content }}", "printed"),
        ("{{ m.content | tojson }}", "printed"),
        ("{{ m.content + '' }}", "refused"),
        ("{{ m.content if m.content is string }}", "lost"),
        (TEXT, "shown"),
    ],
)
def test_system_texts_and_results_in_parts(text: str, how: str) -> None:
    can = of(WHOLE.replace(TEXT, text))
    assert (can.system_parts, can.result_parts) == (how, how)
    assert finding(WHOLE.replace(TEXT, text), "parts").status == "pass"


def test_a_result_beside_a_printed_tool_is_not_printed_itself() -> None:
    assert "'type'" in (look({"default": "{{ tools }}" + WHOLE}, {}).text("tools") or "")
    assert of("{{ tools }}" + WHOLE).result_parts == "shown"


def test_evidence_of_earlier_versions_is_described_without_what_it_does_not_tell() -> None:
    later = ("system_later", "developer", "calls", "tool_forms", "system_parts", "result_parts", "switches")
    old = {key: value for key, value in of(WHOLE).to_json().items() if key not in later}
    evidence = CapabilitiesSpec.model_validate(old)
    titles = [title for title, _ in described(evidence)]
    assert titles[-1] == "Date"
    assert dict(described(evidence))["Thinking"] == "no switch"
