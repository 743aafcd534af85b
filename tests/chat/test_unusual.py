"""Drawn and provoked dialogues: what they find, that they can be drawn again, and that they change no report."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

import jinja2
import pytest

from chat_samples import MANNERS
from mlx_publish.chat import look as looking
from mlx_publish.chat.capabilities import capabilities
from mlx_publish.chat.dialogues import probes
from mlx_publish.chat.drawn import CLOCKS, LIKE, Drawn, difference, drawn
from mlx_publish.chat.look import Look, look
from mlx_publish.chat.provoking import SLOTS, slotted
from mlx_publish.chat.rendering import Rendered
from mlx_publish.chat.variables import Reads, read_by
from mlx_publish.checks.template import safe
from mlx_publish.errors import Refused
from mlx_publish.hooks.rendered import Model, looks
from tiny_tokenizer import CHATML

BY_NAME = {probe.name: probe for probe in probes()}
BOMB = "{{ 'x'.ljust(3 * 10 ** 9) }}"
FEW = "it took more than 256 MB of memory"


@pytest.fixture(autouse=True)
def anew() -> None:
    """Each look draws by a number of its own."""
    looking._look.cache_clear()


def view_of(template: str) -> Look:
    return look({"default": template}, {})


def says(template: str) -> tuple[str, str]:
    finding = safe(view_of(template))
    return finding.status, finding.message


# Conditions under which a template that is tame in every dialogue of ours is hostile.
WAITING = {
    "all days but ours": "strftime_now('%Y-%m-%d') not in ['2026-03-01', '2027-11-23']",
    "a year that it names": "strftime_now('%Y') == '2091'",
    "a day that it names": "'2033-04-05' == strftime_now('%Y-%m-%d')",
    "every other hour": "strftime_now('%H') | int is odd",
    "later than ours": "strftime_now('%Y%m%d') | int > 20271124",
    "a weekday": "strftime_now('%a') in ['Wed', 'Thu']",
    "a word within": "'chatbot' in messages[0].content",
    "a word alone": "messages[0].content == 'chatbot'",
    "a word in front": "messages[0].content.startswith('chatbot')",
    "a word, searched": "messages[0].content.find('chatbot') >= 0",
    "a word, counted": "messages[0].content.count('chatbot') > 0",
    "no word of ours": "'eclipse' not in messages[0].content",
    "a long text": "messages[0].content | length > 4000",
    "a short text": "messages[0].content | length < 18",
    "a digit": "messages[0].content | select('in', '0123456789') | list | length > 4",
    "another tool": "tools and tools[0].function.name != 'eclipse_times'",
}


@pytest.mark.parametrize("when", WAITING)
def test_what_waits_is_found(when: str) -> None:
    status, message = says(f"{{% if {WAITING[when]} %}}{BOMB}{{% endif %}}{CHATML}")
    assert status == "fail"
    assert FEW in message
    assert says(f"{{% if {WAITING[when]} %}}{{% endif %}}{CHATML}")[0] == "pass"


def test_what_was_drawn_is_told_and_drawn_again() -> None:
    finding = safe(
        view_of("{% if 'eclipse' not in messages[0].content %}{{ raise_exception('no') }}{% endif %}" + CHATML)
    )
    assert (finding.status, finding.details["kind"]) == ("fail", "odd")
    assert "it fails where a dialogue like it does not: no (a dialogue drawn like 'user', at " in finding.message
    again = drawn(finding.details["seed"], BY_NAME, clock=False)
    first = next(dialogue for dialogue in again if dialogue.like == finding.details["like"])
    assert [str(message["content"])[:200] for message in first.probe.messages] == finding.details["texts"]


def test_a_text_out_of_proportion_and_a_step_that_takes_long_are_odd() -> None:
    dialogue = Drawn("user", BY_NAME["user"], "2026-03-01T12:00:00")
    usual = Rendered("x" * 100, None, "text", 0.001)
    assert difference(dialogue, replace(usual, text="x" * 3000), usual, 0.001) is None
    assert "5,000 characters, and 100" in (difference(dialogue, replace(usual, text="x" * 5000), usual, 0.001) or "")
    assert difference(dialogue, replace(usual, seconds=0.9), usual, 0.001) is None
    assert "2.0 s of processor time" in (difference(dialogue, replace(usual, seconds=2.0), usual, 0.001) or "")
    assert difference(dialogue, replace(usual, seconds=2.0), usual, 0.2) is None
    refused = Rendered(None, "no", "refused")
    assert difference(dialogue, refused, refused, 0.001) is None
    assert difference(dialogue, refused, usual, 0.001)


def test_a_number_draws_the_same_texts_and_another_one_others() -> None:
    texts = [[str(dialogue.probe) for dialogue in drawn(seed, BY_NAME, clock=False)] for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert not set(texts[0]) & set(texts[2])
    assert len(texts[0]) == len(LIKE)


def test_today_is_among_the_clocks_and_far_days_are() -> None:
    now = datetime.now()  # noqa: DTZ005  as templates see it
    times = [datetime.fromisoformat(dialogue.now) for seed in range(9) for dialogue in drawn(seed, BY_NAME, clock=True)]
    assert len(times) == 9 * (len(LIKE) + CLOCKS)
    assert min(abs(time - now) for time in times) < timedelta(minutes=1)
    assert min(times) < now - timedelta(days=365) < now + timedelta(days=3650) < max(times)
    assert len({time.hour for time in times}) == 24
    assert len({time.weekday() for time in times}) == 7


@pytest.mark.parametrize("manner", MANNERS)
def test_no_published_template_is_odd_however_often_it_is_drawn_for(manner: str) -> None:
    records = []
    for _ in range(3):
        looking._look.cache_clear()
        made = look({"default": MANNERS[manner].template}, {"bos_token": "<s>", "eos_token": "</s>"})
        assert (made.odd, made.unsafe) == ((), ())
        records.append(json.dumps([safe(made).message, capabilities(made).to_json(), made.reads.to_json()]))
        records[-1] += str([rendering.to_json() for rendering in made.rendered.values()])
    assert len(set(records)) == 1


def test_the_parent_parses_no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise AssertionError("parsed in the parent")

    for name in ("_parse", "compile", "_tokenize", "from_string"):
        monkeypatch.setattr(jinja2.Environment, name, fail)
    switched = CHATML + "{% if thinking %}think{% endif %}"
    made = view_of(switched)
    assert made.reads.variables == {"thinking"}
    assert [probe.name for probe in made.switched] == ["thinking=true", "thinking=false"]
    assert (made.text("thinking=true") or "").endswith("think")
    assert looks([Model({"default": switched}, {})])[0].reads == made.reads
    with pytest.raises(AssertionError, match="in the parent"):
        jinja2.Template(switched)


@pytest.mark.parametrize("name", ["messages", "tools", "documents", "add_generation_prompt"])
def test_a_special_token_cannot_stand_in_for_what_templates_are_given(name: str) -> None:
    with pytest.raises(Refused, match=f"a special token is named '{name}'") as caught:
        look({"default": CHATML}, {name: "x"})
    assert caught.value.check == "chat-template"


def test_slots_hold_what_was_found_and_no_more_than_there_is_room_for() -> None:
    many = read_by(["".join(f"{{% if 'w{number}' in x %}}{{% endif %}}" for number in range(500))])
    assert len(slotted("word", many)) == SLOTS["word"] == len(many.words)
    few = Reads(frozenset("a"), frozenset("b"), {"thinking": (True, "x")}, ("2031", "in 2032-05-06", "20311"))
    assert Reads.of(json.loads(json.dumps(few.to_json()))) == few
    assert list(slotted("clock", few)) == ["2031-01-01T03:30:00", "2032-05-06T03:30:00"]
    assert list(slotted("switch", few)) == [("thinking", True), ("thinking", "x")]
    assert list(slotted("words", few)) == ["2031 in 2032-05-06 20311"]
    assert list(slotted("words", Reads())) == []


def test_what_a_template_looks_for_may_be_refused_without_harm() -> None:
    """Some split answers at their own marks and break where a user writes one."""
    status: Any = says("{% if '</think>' in messages[-1].content %}{{ raise_exception('no') }}{% endif %}" + CHATML)[0]
    assert status == "pass"


def test_templates_that_apply_by_name_alone_are_looked_at_too() -> None:
    """They may want documents and refuse our dialogues; harm is what counts."""
    needy = "{{ raise_exception('no documents') }}"
    for text, status in ((CHATML, "pass"), (needy, "pass"), (BOMB, "fail"), ("{{ ''.__class__ }}", "fail")):
        finding = safe(look({"default": CHATML, "a": CHATML, "rag": text, "tool_use": CHATML}, {}))
        assert finding.status == status
        assert status == "pass" or finding.message.endswith("(the template of the name 'rag')")


def test_drawn_clocks_differ_in_each_part_that_a_template_may_wait_for() -> None:
    times = [datetime.fromisoformat(dialogue.now) for dialogue in drawn(7, BY_NAME, clock=True)]
    for part in ("year", "month", "day", "hour", "minute", "second"):
        assert len({getattr(time, part) for time in times}) > 5, part
