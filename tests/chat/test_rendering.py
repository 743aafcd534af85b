"""A template's text here beside its text in transformers; its errors; the names it reads."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from jinja2 import TemplateError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast  # noqa: TID251 -- what is compared with
from transformers.utils import chat_template_utils  # noqa: TID251

from mlx_publish.chat.rendering import Rendered, render
from mlx_publish.chat.variables import reads

NOW = datetime(2026, 3, 1, 12, 0, 5)  # noqa: DTZ001  what templates are told has no zone
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
USER = {"role": "user", "content": "Hi <b> & \u00fc\u4f60"}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"b": "\u00e9", "a": [1, None, True]}}}
CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief.", "name": None},
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning": "hm"},
    {"role": "tool", "content": "4", "tool_call_id": None},
    {"role": "assistant", "content": "4", "thinking": "old", "reasoning_content": "new", "reasoning": None},
]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "\u00dc", "parameters": {"type": "object"}}}]
DOCUMENTS = [{"title": "a", "text": "b"}]

SAME = {
    "trim and lstrip": "a\n  {% if true %}\n  b\n  {% endif %}\nc\n\n{#- d -#}\n e {%- if true %} f {% endif -%} g\n",
    "the end of the text": "a\n\n",
    "break": "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "continue": "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.role }},{% endfor %}",
    "json": "{{ messages|tojson }}",
    "json, indented": "{{ messages[2]|tojson(indent=2) }}{{ 'ü'|tojson(true) }}",
    "json, all options": "{{ messages[2]|tojson(ensure_ascii=true, separators=(',', ':'), sort_keys=true) }}",
    "json of markup": "{{ '<a href=\"x\">&\\'</a>'|tojson }}{{ '<b>' }}",
    "clock": "{{ strftime_now('%d %B %Y %H:%M') }}{{ strftime_now(format='%j') }}",
    "generation": "{% for m in messages %}a\n  {% generation %}\n  {{ m.content }}\n  {% endgeneration %}\n{% endfor %}",
    "scope of generation": "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "namespace": "{% set n = namespace(a=1, self=2) %}{% for m in messages %}{% set n.a = n.a + 1 %}{% endfor %}{{ n }}",
    "dict": "{% set d = dict(a=1, b=2) %}{{ d }}{{ dict.fromkeys('ab', 1) }}{{ dict(d, c=3)|tojson }}",
    "macro": "{% macro f(a, b='!') %}{{ a ~ b ~ varargs }}{{ caller() if caller }}{% endmacro %}{{ f(1, 2, 3) }}"
    "{% call f('x') %}y{% endcall %}",
    "recursion that ends": "{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(9) }}",
    "nothing is dropped": "{% for m in messages %}{{ 'content' in m }}{{ m.name is defined }}{{ m.content }};{% endfor %}",
    "None further down stays": "{{ messages[2].tool_calls[0].function.arguments }}",
    "reasoning": "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.reasoning }};{% endfor %}",
    "order of keys": "{{ messages[2] }}{{ messages[4]|items|list }}",
    "special tokens": "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{{ pad_token }}{{ unk_token }}",
    "what is always there": "{{ tools }}{{ documents }}{{ add_generation_prompt }}",
    "tools": "{% if tools %}{{ tools|tojson }}{% endif %}{{ tools is none }}{{ tools is defined }}",
    "generation prompt": "{{ 'a' if add_generation_prompt else 'b' }}{{ add_generation_prompt is defined }}",
    "options": "{{ enable_thinking is defined }}{{ enable_thinking }}",
    "slices and methods": "{{ messages[1:]|length }}{{ ' a '.strip() }}{{ 'a-b'.split('-') }}{{ 'x'.upper() }}",
    "arithmetic": "{{ 3 * 4 }}{{ 'ab' * 2 }}{{ [1] * 2 }}{{ 2 ** 10 }}{{ 2 ** -1 }}{{ 1 ** 9999999 }}{{ 1.5 * 2 }}",
    "an attribute that changes things": "{{ messages.append is defined }}{{ messages[0].update }}",
    "lone surrogate": "{{ '\\ud800' }}",
}
SAME_ERROR = {
    "syntax": "{% if %}",
    "unknown tag": "{% gen %}",
    "unknown filter": "{{ 1|nofilter }}",
    "undefined": "{{ nothing.at_all }}",
    "type": "{{ 1 + 'a' }}",
    "json of undefined": "{{ nothing|tojson }}",
    "range": "{{ range(100001) }}",
    "include": "{% include 'x' %}",
    "raise": "{{ raise_exception('no') }}",
    "mutation": "{{ messages.append(1) }}",
    "insides": "{{ ''.__class__.__mro__ }}",
    "insides by filter": "{{ (''|attr('__class__')).__mro__ }}",
    "insides by item": "{{ ''['__class__']['__mro__'] }}",
    "insides by format": "{{ '{0.__class__.__mro__}'.format('') }}",
    "insides by name": "{{ cycler.__init__.__globals__ }}",
    "private name": "{% set n = namespace() %}{% set n._a = 1 %}",
    "private name at once": "{{ namespace(_a=1) }}",
}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Fixed:
            return cls(2026, 3, 1, 12, 0, 5)

    monkeypatch.setattr(chat_template_utils, "datetime", Fixed)


def theirs(template: str, messages: list[dict[str, Any]] = CHAT, **more: Any) -> str:
    """The text of a template in transformers."""
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<u>": 2}, unk_token="<u>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **SPECIAL)
    text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **more)
    assert isinstance(text, str)
    return text


def ours(template: str, messages: list[dict[str, Any]] = CHAT, **more: Any) -> Rendered:
    return render(template, {"messages": messages, **SPECIAL, **more}, NOW)


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize(
    "more",
    [{}, {"tools": TOOLS, "documents": DOCUMENTS, "add_generation_prompt": True, "enable_thinking": False}],
    ids=["bare", "full"],
)
def test_the_text_is_that_of_transformers(name: str, more: dict[str, Any]) -> None:
    assert ours(SAME[name], **more) == Rendered(theirs(SAME[name], **more), None, "text")


@pytest.mark.parametrize("name", SAME_ERROR)
def test_what_fails_in_transformers_fails_here(name: str) -> None:
    with pytest.raises((TemplateError, TypeError, OverflowError)):
        theirs(SAME_ERROR[name])
    answer = ours(SAME_ERROR[name])
    assert answer.text is None
    assert answer.kind in ("broken", "refused", "forbidden")


@pytest.mark.parametrize(
    ("template", "kind", "error"),
    [
        ("\n{{ raise_exception('System role not supported') }}", "refused", "System role not supported"),
        ("{{ raise_exception(message=messages[0].role) }}", "refused", "system"),
        ("{{ raise_exception() }}", "broken", "line 1: TypeError: "),
        ("a\n\n{% if %}", "broken", "line 3: TemplateSyntaxError: Expected an expression"),
        ("a\n{{ x.y }}", "broken", "line 2: UndefinedError: 'x' is undefined"),
        ("{% macro f() %}\n{{ 1 + 'a' }}{% endmacro %}\n\n{{ f() }}", "broken", "line 2: TypeError: "),
        ("\n\n{{ messages.append(1) }}", "broken", "line 3: SecurityError: "),
        ("{{ ''.__class__ }}", "forbidden", "line 1: SecurityError: access to attribute '__class__'"),
        ("{{ namespace(_a=1) }}", "forbidden", "line 1: SecurityError: "),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested", "it is nested too deep, or calls itself"),
        ("{{ 'x' * 10**10 }}", "unsafe", "a single * in it makes more than 2,000,000 characters"),
        ("{{ 10**10 * ['x'] }}", "unsafe", "a single * in it"),
        ("{{ 10**(10**10) }}", "unsafe", "a single ** in it"),
        (
            "{% for a in range(9999) %}{{ messages[0].content * 99 }}{% endfor %}",
            "unsafe",
            "it wrote more than 2,000,000",
        ),
    ],
)
def test_an_error_is_an_answer(template: str, kind: str, error: str) -> None:
    answer = ours(template)
    assert (answer.text, answer.kind) == (None, kind)
    assert (answer.error or "").startswith(error)


def test_a_long_error_is_cut() -> None:
    assert ours("{{ raise_exception('x' * 100000) }}").error == "x" * 500


def test_a_text_may_be_as_long_as_the_limit() -> None:
    template = "{% for a in range(5) %}ab{% endfor %}"
    assert render(template, {}, NOW, characters=10).text == "ab" * 5
    assert render(template, {}, NOW, characters=9).error == "it wrote more than 9 characters"


def test_the_context_stays_as_it_was() -> None:
    messages = [dict(message) for message in CHAT]
    ours("{% for m in messages %}{{ m }}{% endfor %}", messages)
    assert messages == CHAT


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{{ messages }}{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ bos_token }}{{ mask_token }}", set()),
        ("{{ raise_exception('') }}{{ strftime_now('') }}{{ namespace() }}{{ range(1) }}{{ dict() }}", set()),
        ("{{ lipsum() }}{{ cycler('a') }}{{ joiner() }}", set()),
        (
            "{% if enable_thinking is defined and not enable_thinking %}{{ image_token }}{% endif %}",
            {"enable_thinking", "image_token"},
        ),
        ("{% if not date_string is defined %}{% set date_string = 1 %}{% endif %}{{ date_string }}", set()),
        ("{% if a %}{% set b, c = a %}{% endif %}{{ b }}{{ c }}{% set d %}{{ e }}{% endset %}{{ d }}", {"a", "e"}),
        ("{% for tool in tools %}{% endfor %}{{ tool }}", {"tool"}),
        ("{% set a = 1 %}{{ a }}{% for b in [1] %}{{ b }}{{ loop.index }}{% endfor %}", set()),
        ("{% macro f(a) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}{{ f(c) }}", {"b", "c"}),
        ("{% generation %}{{ a }}{% endgeneration %}{% for x in y %}{% break %}{% endfor %}", {"a", "y"}),
        ("{% autoescape a %}{{ b }}{% endautoescape %}{% filter upper %}{{ c }}{% endfilter %}", {"a", "b", "c"}),
        ("{% if %}", set()),
        ("{{ " + "(" * 9999 + "x" + ")" * 9999 + " }}", set()),
        ("{{ x|nofilter }}", set()),
    ],
)
def test_names_that_only_a_caller_can_give(template: str, names: set[str]) -> None:
    assert reads(template).variables == names


def test_reading_the_names_computes_nothing() -> None:
    giant = "'x'|center(10**15)"
    template = f"{{{{ {giant} }}}}{{% autoescape {giant} %}}{{{{ {giant} ~ a }}}}{{% endautoescape %}}"
    assert reads(template).variables == {"a"}
