"""What is said of a chat template: every check in every branch."""

from __future__ import annotations

from typing import Any

import pytest

from chat_samples import MANNERS
from mlx_publish.chat.capabilities import capabilities
from mlx_publish.chat.look import Look, look
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.template import TEMPLATE, differences, safe
from mlx_publish.checks.template_facts import TemplateFacts
from mlx_publish.evidence.measured import ChatRendered, Dialogue, RenderedText
from mlx_publish.evidence.report import Finding, verdict_of
from tiny_tokenizer import CHATML, SPECIAL

TOKENS = frozenset(SPECIAL)
NO_SYSTEM = "{{ raise_exception('no such role') if messages[0].role == 'system' }}" + CHATML
SILENT_SYSTEM = CHATML.replace("in messages %}", "in messages if message.role != 'system' %}")
STRICT = (
    "{% for m in messages if m.role in ['user', 'assistant'] %}"
    "{{ raise_exception('alternate') if (m.role == 'user') == (loop.index is even) }}{% endfor %}" + CHATML
)
NO_SYSTEM_STRICT = "{{ raise_exception('no such role') if messages[0].role == 'system' }}" + STRICT
SWITCH = CHATML + "{{ '<think></think>' if enable_thinking is defined and not enable_thinking }}"
OWN_SWITCH = CHATML + "{{ ('<think>' if enable_thinking else '</think>') if enable_thinking is defined }}"
NOT_ASKED = CHATML.replace("{% if add_generation_prompt %}", "{% if false %}")
ENDED = RenderedText("a", [1, 2])


def look_at(template: str, **special: str) -> Look:
    return look({"default": template}, special)


def facts(template: str | None = CHATML, special: dict[str, str] | None = None, **more: Any) -> TemplateFacts:
    """All that is known of a template that stands alone; None has no template."""
    if template is None:
        return TemplateFacts(None, None, TOKENS, "none", **more)
    look = look_at(template, **(special or {}))
    return TemplateFacts(look, capabilities(look), more.pop("tokens", TOKENS), **more)


def find(check: str, about: TemplateFacts) -> Finding:
    (finding,) = (finding for finding in run_checks(TEMPLATE, about) if finding.id == check)
    return finding


def says(check: str, about: TemplateFacts) -> tuple[str, str]:
    finding = find(check, about)
    return finding.status, finding.message


def chat(thinks: bool = False, **rendered: RenderedText | tuple[RenderedText, RenderedText]) -> ChatRendered:
    """Return what the engine gives; a dialogue is (source, made), and the same by both where only one is given."""
    both = {name: texts if isinstance(texts, tuple) else (texts, texts) for name, texts in rendered.items()}
    return ChatRendered(thinks, {name: Dialogue(source, made) for name, (source, made) in both.items()}, {})


def test_of_chatml_nothing_odd_is_said() -> None:
    findings = run_checks(TEMPLATE, facts(chat=chat(user=ENDED), engines={"minijinja": ()}))
    assert {finding.status for finding in findings} == {"pass"}
    assert not any(finding.remedy for finding in findings)


def test_without_a_template_one_thing_is_said() -> None:
    findings = {finding.id: (finding.status, finding.message) for finding in run_checks(TEMPLATE, facts(None))}
    assert findings.pop("template-renders") == ("warn", "no chat template; answers are plain completions")
    assert set(findings.values()) == {("skip", "no chat template")}


def test_ids_are_unique() -> None:
    ids = [check.id for check in TEMPLATE]
    assert len(ids) == len(set(ids))
    assert {check.id for check in TEMPLATE if check.safety} == {"template-same"}


def test_a_failure_names_a_next_step() -> None:
    findings = run_checks(
        TEMPLATE,
        facts("{{ raise_exception('no') }}", way="own-turn", chat=chat(user=(ENDED, RenderedText("b", [1])))),
    )
    failures = [finding for finding in findings if finding.status == "fail"]
    assert [finding.id for finding in failures] == ["template-renders", "template-same", "system-role"]
    assert all(finding.remedy for finding in failures)


# template-safe


def test_a_safe_template() -> None:
    finding = safe(look_at(CHATML))
    assert (finding.status, finding.remedy) == ("pass", "")
    assert finding.message.startswith("36 dialogues were rendered in a sandbox")


@pytest.mark.parametrize(
    ("template", "kind", "words"),
    [
        ("{{ messages.__class__ }}", "forbidden", "SecurityError: access to attribute '__class__'"),
        ("{{ 'a' * 10 ** 10 }}", "unsafe", "makes more than 2,000,000 characters"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested", "calls itself without end"),
    ],
)
def test_an_unsafe_template(template: str, kind: str, words: str) -> None:
    finding = safe(look_at(template))
    assert (finding.status, finding.details["kind"]) == ("fail", kind)
    assert finding.message.startswith("the chat template is not safe to render: ")
    assert words in finding.message
    assert finding.message.endswith("(dialogue 'user')")


def test_a_template_that_is_unsafe_with_tools_alone() -> None:
    finding = safe(look_at(CHATML + "{{ tools.__class__ if tools }}"))
    assert finding.status == "fail"
    assert "(dialogue 'tools')" in finding.message


# template-renders


def test_a_template_renders() -> None:
    finding = find("template-renders", facts())
    unusual = [
        "call without text, mapping",
        "call without text, string",
        "result in parts, mapping",
        "result in parts, string",
        "text parts",
        "system in parts",
    ]
    message = f"30 of 36 dialogues render; refused: {'; '.join(unusual)}"
    assert (finding.status, finding.message) == ("pass", message)
    assert [*finding.details["refused"]] == unusual
    every = facts(CHATML.replace("message['content']", "message['content'] | string"))
    assert says("template-renders", every) == ("pass", "36 of 36 dialogues render")


def test_a_template_that_cannot_render_what_every_chat_needs() -> None:
    finding = find("template-renders", facts("{{ raise_exception('one turn') if messages | length > 2 }}" + CHATML))
    assert finding.status == "fail"
    assert finding.message == "the chat template cannot render the dialogue 'several turns': one turn"
    assert finding.details["broken"] == {"several turns": "one turn"}


# template-same


def test_nothing_was_compared() -> None:
    assert says("template-same", facts()) == ("skip", "no converted model to compare")
    assert says("template-same", facts(None, chat=None)) == ("skip", "no chat template")


def test_the_same_text_and_ids() -> None:
    status, message = says("template-same", facts(chat=chat(user=ENDED, tools=ENDED)))
    assert (status, message[:40]) == ("pass", "2 dialogues give the same text and ids i")


def test_another_text() -> None:
    other = (RenderedText("Hello you there", [1]), RenderedText("Hello me there", [1]))
    finding = find("template-same", facts(chat=chat(user=ENDED, tools=other, scripts=other)))
    assert finding.status == "fail"
    assert finding.message == (
        "2 of 3 dialogues differ from the source's: 'tools', text 'Hello me there' instead of 'Hello you there'"
    )
    assert finding.details["different"] == ["tools", "scripts"]


def test_of_a_long_text_the_place_of_the_difference_is_shown() -> None:
    long = "x" * 5000
    ((name, what),) = differences(chat(user=(RenderedText(f"{long}a", [1]), RenderedText(f"{long}b", [1]))))
    assert (name, what) == ("user", f"text '{'x' * 10}b' instead of '{'x' * 10}a'")
    ((_, what),) = differences(chat(user=(RenderedText(long, []), RenderedText(f"{long}</s>", []))))
    assert what == f"text '{'x' * 10}</s>' instead of '{'x' * 10}'"


def test_other_ids() -> None:
    common = list(range(100, 120))
    theirs, ours = (RenderedText("a", [*common, last, 7]) for last in (1, 2))
    ((_, what),) = differences(chat(user=(theirs, ours)))
    assert what == "ids [118, 119, 2, 7] instead of [118, 119, 1, 7]"
    ((_, what),) = differences(chat(user=(RenderedText("a", [5]), RenderedText("a", [5, 5]))))
    assert what == "ids [5, 5] instead of [5]"


def test_one_of_both_refuses() -> None:
    ((_, what),) = differences(chat(user=(ENDED, RenderedText(error="no"))))
    assert what == "the converted template refuses: no"
    ((_, what),) = differences(chat(user=(RenderedText(error="not so"), ENDED)))
    assert what == "the source's template refuses: not so"


def test_what_both_refuse_is_no_difference_whatever_the_words() -> None:
    assert [*differences(chat(user=(RenderedText(error="in /a/b"), RenderedText(error="in /c/d"))))] == []


def test_what_mlx_lm_sets_by_default_is_no_difference() -> None:
    by_default = Dialogue(ENDED, RenderedText("b", [3]), by_default=True)
    rendered = ChatRendered(thinks=False, rendered={"user": by_default}, prompts={})
    assert [*differences(rendered)] == []
    assert find("template-same", facts(chat=rendered)).status == "pass"


def test_a_difference_cannot_be_accepted_away() -> None:
    about = facts(chat=chat(user=(ENDED, RenderedText(error="no"))))
    findings = {finding.id: finding.status for finding in run_checks(TEMPLATE, about, lambda _: "for a reason")}
    assert findings["template-same"] == "fail"


# system-role and turns


def test_ways_of_a_system_text() -> None:
    assert says("system-role", facts()) == ("pass", "the system prompt is a separate turn")
    merged = facts(MANNERS["mistral"].template, MANNERS["mistral"].names)
    assert says("system-role", merged) == ("pass", "the system prompt is put into a user turn by the template")


@pytest.mark.parametrize(
    ("template", "reason"), [(NO_SYSTEM, "no such role"), (SILENT_SYSTEM, "the system prompt is lost")]
)
def test_a_system_text_is_folded(template: str, reason: str) -> None:
    for way, words in (
        ("first-user", "is folded into the first user message"),
        ("own-turn", "becomes a separate user turn"),
    ):
        message = f"no system role ({reason}); the system prompt {words}"
        assert says("system-role", facts(template, way=way)) == ("warn", message)
        converted = facts(template, way=way, chat=chat(thinks=False))
        assert says("system-role", converted) == ("warn", f"{message}, as on the card")


@pytest.mark.parametrize("template", [NO_SYSTEM_STRICT, "{% for m in messages[-1:] %}{{ m.content }}{% endfor %}"])
def test_a_turn_of_its_own_needs_a_template_that_takes_two(template: str) -> None:
    assert find("system-role", facts(template, way="first-user")).status == "warn"
    finding = find("system-role", facts(template, way="own-turn"))
    assert finding.status == "fail"
    assert finding.message.endswith("the template rejects two user turns in a row")
    assert finding.remedy == "Set smoke.fold to first-user in the recipe."


def test_orders_of_turns() -> None:
    assert says("turns", facts()) == ("pass", "turns may come in any order")
    assert says("turns", facts(STRICT)) == (
        "pass",
        "turns alternate strictly: two user turns in a row and an assistant's turn first are refused",
    )
    first = "{{ raise_exception('user first') if messages[0].role == 'assistant' }}" + CHATML
    assert says("turns", facts(first)) == (
        "pass",
        "turns alternate strictly: an assistant's turn first is refused",
    )
    assert says("turns", facts("{{ messages[-1].content }}")) == (
        "warn",
        "two user turns in a row and an assistant's turn first: texts vanish without an error",
    )


# texts-once and generation-prompt


def test_texts_that_arrive_once_twice_and_never() -> None:
    assert says("texts-once", facts()) == ("pass", "every message's text appears exactly once")
    twice = find("texts-once", facts(CHATML + "{{ messages[-1].content if add_generation_prompt }}"))
    assert (twice.status, twice.message) == (
        "warn",
        "in the dialogue 'user' the text 'What is an eclipse?' arrives 2 times",
    )
    lost = find("texts-once", facts("{% for m in messages[-1:] %}{{ m.content }}{% endfor %}"))
    assert lost.status == "fail"
    assert lost.message == (
        "in the dialogue 'several turns' the text 'What is an eclipse?' vanishes, and the model never sees it"
    )
    assert lost.details["found"][0] == ["several turns", "What is an eclipse?", 0]


def test_of_a_long_text_the_beginning_is_shown() -> None:
    finding = find("texts-once", facts(CHATML.replace("message['content']", "message['content'] | replace('**', '')")))
    assert finding.message.endswith("the text 'The tags </s> <|im_end|> <|user|> [INST] <end_of_turn>, the ' vanishes")


def test_what_asks_for_an_answer() -> None:
    assert says("generation-prompt", facts()) == ("pass", r"the generation prompt is '<|im_start|>assistant\n'")
    status, message = says("generation-prompt", facts(NOT_ASKED))
    assert (status, message[:38]) == ("warn", "add_generation_prompt changes nothing;")


# begin-token and known-tokens


def test_begin_tokens() -> None:
    begin = {"bos_token": "<s>"}
    assert says("begin-token", facts()) == ("pass", "it writes no BOS token")
    assert says("begin-token", facts("{{ bos_token }}" + CHATML, begin)) == (
        "pass",
        "the template writes the BOS token '<s>' once",
    )
    twice = ("warn", "a prompt begins with two BOS tokens; models are trained with one")
    assert says("begin-token", facts("{{ bos_token * 2 }}" + CHATML, begin)) == twice
    # Another one from the tokenizer, in front of the template's.
    doubled = facts("{{ bos_token }}" + CHATML, begin, chat=chat(user=RenderedText("<s>a", [1, 1, 5])))
    assert says("begin-token", doubled) == twice


@pytest.mark.parametrize(
    "made",
    [RenderedText("<s>a", [1, 5, 5]), RenderedText("aa", [5, 5]), RenderedText("<s>", [1]), RenderedText(error="no")],
)
def test_a_begin_token_that_is_not_doubled(made: RenderedText) -> None:
    about = facts("{{ bos_token }}" + CHATML, {"bos_token": "<s>"}, chat=chat(user=made))
    assert find("begin-token", about).status == "pass"


def test_tokens_that_are_none() -> None:
    assert says("known-tokens", facts()) == (
        "pass",
        "every special token that the template writes is in the vocabulary",
    )
    finding = find("known-tokens", facts("<|b|><|a|>" + CHATML))
    assert (finding.status, finding.message) == (
        "warn",
        "<|a|>, <|b|> look like special tokens and are plain text to this tokenizer",
    )
    assert finding.details["unknown"] == ["<|a|>", "<|b|>"]
    assert says("known-tokens", facts("<|a|>" + CHATML, tokens=None)) == ("skip", "no file lists the special tokens")


# grows, date, variables


def test_growth() -> None:
    assert says("grows", facts()) == (
        "pass",
        "a longer dialogue starts with the shorter one, so a prompt cache works",
    )
    turn = facts(MANNERS["deepseek_r1"].template, MANNERS["deepseek_r1"].names)
    assert says("grows", turn) == (
        "pass",
        "a longer dialogue keeps the earlier text, except the last generation prompt",
    )
    # With a system text alone.
    less = facts(MANNERS["mistral"].template, MANNERS["mistral"].names)
    assert says("grows", less) == (
        "warn",
        "a longer dialogue changes the earlier text, from '<s>[INST] ' on, so a prompt cache helps little",
    )
    broken = facts("{{ raise_exception('no') if messages | length > 1 }}" + CHATML)
    assert says("grows", broken) == ("skip", "no dialogue could be continued")


def test_the_day() -> None:
    assert says("date", facts()) == ("pass", "the prompt does not depend on the date")
    assert says("date", facts("{{ strftime_now('%Y-%m-%d') }}" + CHATML)) == (
        "pass",
        "the prompt contains the date; it was tested with a fixed clock",
    )


def test_variables() -> None:
    assert says("variables", facts()) == ("pass", "the template reads only variables that callers pass")
    assert says("variables", facts(SWITCH + "{{ documents }}{{ date_string }}")) == (
        "pass",
        "the template reads only variables that callers pass: date_string, enable_thinking",
    )
    finding = find("variables", facts(CHATML.replace("add_generation_prompt", "add_generation_promt")))
    assert (finding.status, finding.message) == (
        "warn",
        "the template reads add_generation_promt, which no known caller passes",
    )
    assert finding.details["names"] == ["add_generation_promt"]


# thinking


def test_there_is_no_switch() -> None:
    assert says("thinking", facts()) == ("pass", "there is no thinking switch")


@pytest.mark.parametrize(
    ("template", "unset", "thinks", "status", "end"),
    [
        (SWITCH, "on", None, "pass", ""),
        (SWITCH, "on", True, "pass", ", in mlx-lm too"),
        (SWITCH, "on", False, "warn", " in transformers, and off in mlx-lm, which sets the switch by itself"),
        (CHATML + "{{ '<think>' if enable_thinking }}", "off", False, "pass", ", in mlx-lm too"),
        (
            CHATML + "{{ '<think>' if enable_thinking }}",
            "off",
            True,
            "warn",
            " in transformers, and on in mlx-lm, which sets the switch by itself",
        ),
        (OWN_SWITCH, "neither on nor off", None, "pass", ""),
        (
            OWN_SWITCH,
            "neither on nor off",
            True,
            "warn",
            " in transformers, and on in mlx-lm, which sets the switch by itself",
        ),
    ],
)
def test_a_switch(template: str, unset: str, thinks: bool | None, status: str, end: str) -> None:
    rendered = None if thinks is None else chat(thinks, user=ENDED)
    assert says("thinking", facts(template, chat=rendered)) == (
        status,
        f"enable_thinking switches thinking; unset it is {unset}{end}",
    )


# tools and parts


def test_tools() -> None:
    assert says("tools", facts()) == ("pass", "the template does not support tools")
    assert says("tools", facts("{{ raise_exception('no') if tools }}" + CHATML)) == (
        "pass",
        "the template does not support tools and refuses them",
    )
    listed = "{{ tools | tojson }}" + CHATML
    status, message = says("tools", facts(listed))
    assert status == "warn"
    assert message.startswith("tools are listed; arguments as a mapping are lost; arguments as a string are lost; res")
    assert message.endswith("results are shown; a call whose message has no text (null) is refused")
    mistral = facts(MANNERS["mistral"].template, MANNERS["mistral"].names)
    assert says("tools", mistral) == (
        "pass",
        "tools are listed; arguments as a mapping are shown; arguments as a string are escaped; results are shown",
    )


PARTS = {
    "is shown as text": "message.content if message.content is string else message.content[0].text",
    "is printed as Python's list": "message.content | string",
    "vanishes": "message.content if message.content is string else ''",
    "is refused": "message.content",
}


@pytest.mark.parametrize("how", PARTS)
def test_parts(how: str) -> None:
    status, message = says("parts", facts(CHATML.replace("message['content']", f"({PARTS[how]})")))
    assert status == "pass"
    assert message.startswith(f"content as a list of parts {how}")


# other-engines


def test_other_engines() -> None:
    assert says("other-engines", facts()) == ("skip", "no other engine was requested")
    both = {"minijinja": None, "huggingface-jinja": None}
    assert says("other-engines", facts(engines=both)) == (
        "skip",
        "not installed here: huggingface-jinja, minijinja",
    )
    finding = find("other-engines", facts(engines=both | {"minijinja": ()}))
    assert (finding.status, finding.message) == ("pass", "minijinja renders every dialogue alike")
    assert finding.details["missing"] == ["huggingface-jinja"]
    assert says("other-engines", facts(engines={"minijinja": (), "huggingface-jinja": ()})) == (
        "pass",
        "huggingface-jinja and minijinja render every dialogue alike",
    )


def test_another_engine_makes_something_else() -> None:
    lines = tuple(f"minijinja: in {name!r} it refuses" for name in "abcd")
    finding = find("other-engines", facts(engines={"minijinja": lines, "huggingface-jinja": None}))
    assert (finding.status, finding.message) == ("warn", "; ".join(lines[:3]))
    assert finding.details["different"] == [*lines]


def test_a_warning_refuses_nothing() -> None:
    odd = facts(NO_SYSTEM_STRICT + "<|a|>{{ x }}", way="first-user", engines={"minijinja": ("different",)})
    findings = run_checks(TEMPLATE, odd)
    assert {"warn"} < {finding.status for finding in findings}
    assert verdict_of(findings) == "pass"
