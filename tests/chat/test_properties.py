"""What is odd about a template: each property by a tiny template that has it and one that has not."""

from __future__ import annotations

import pytest

from chat_samples import MANNERS
from mlx_publish.chat.capabilities import generation_prompt
from mlx_publish.chat.dialogues import ANSWER, NEXT, QUESTION, probes
from mlx_publish.chat.look import Look, look, shared
from mlx_publish.chat.properties import (
    Growth,
    begin_tokens,
    growth,
    not_once,
    refusals,
    surprising_variables,
    unknown_tokens,
    vanished,
)
from tiny_tokenizer import CHATML, SPECIAL

BEGIN = {"bos_token": "<s>"}
TURN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
KNOWN = frozenset(SPECIAL)
# What a dialogue's own capability tells already is not told once more.
TOLD_ELSEWHERE = {
    "system+user",
    "system, several turns",
    "empty system",
    "two users",
    "assistant first",
    "tools",
    "call, mapping",
    "call, string",
    "reasoning fed back",
    "reasoning in the text",
    "text parts",
    "system in the middle",
    "developer",
    "system in parts",
    "tool without description",
    "tool without parameters",
    "type as a list",
    "anyOf",
    *(
        f"{what}, {form}"
        for what in ("call without text", "two calls", "two rounds", "result in parts")
        for form in ("mapping", "string")
    ),
}


def view_of(template: str, **special: str) -> Look:
    return look({"default": template}, special)


def test_in_chatml_nothing_is_odd() -> None:
    view = view_of(CHATML)
    assert list(not_once(view)) == []
    assert refusals(view, must=True) == ()
    assert begin_tokens(view) == 0
    assert unknown_tokens(view, KNOWN) == ()
    assert surprising_variables(view) == ()


# not_once


def test_texts_that_vanish() -> None:
    counts = list(not_once(view_of("{% for m in messages[-2:] %}{{ m.content }}\n{% endfor %}")))
    assert ("several turns", QUESTION, 0) in counts
    assert {count for _, _, count in counts} == {0}
    assert {name for name, _, _ in counts} == {"several turns", "long dialogue"}


def test_texts_that_double() -> None:
    counts = list(not_once(view_of("{% for m in messages %}{{ m.content }}{{ m.content }}\n{% endfor %}")))
    assert counts[0] == ("user", QUESTION, 2)
    assert {count for _, _, count in counts} == {2}


def test_a_text_that_is_cut_or_changed_vanishes() -> None:
    cut = list(not_once(view_of(TURN.replace("m.content", "m.content[:30]"))))
    assert ("first turn", ANSWER, 0) in cut
    assert ("first turn", QUESTION, 0) not in cut
    (changed,) = not_once(view_of(TURN.replace("m.content", "m.content | replace('**', '')")))
    assert (changed[0], changed[2]) == ("look-alikes", 0)


def test_white_space_around_a_text_may_go() -> None:
    assert list(not_once(view_of(TURN.replace("m.content", "m.content | trim")))) == []


def test_what_a_capability_tells_is_not_told_twice() -> None:
    silent = view_of("{% for m in messages if false %}{% endfor %}")
    assert {probe.name for probe in probes()} - {name for name, _, _ in not_once(silent)} == TOLD_ELSEWHERE


def test_a_dialogue_that_is_refused_loses_no_text() -> None:
    assert list(not_once(view_of("{{ raise_exception('no') }}"))) == []


# refusals


def test_what_has_to_render_and_what_need_not() -> None:
    view = view_of("{{ raise_exception('one turn') if messages | length > 1 }}" + CHATML)
    assert refusals(view, must=True) == (("several turns", "one turn"),)
    assert {name for name, _ in refusals(view, must=False)} > {"first turn", "system+user", "two users"}
    assert "user" not in dict(refusals(view, must=False))


def test_an_error_of_any_kind_refuses() -> None:
    wrong = dict(refusals(view_of("{% for m in messages %}{{ m.nothing.there }}{% endfor %}"), must=True))
    assert wrong.keys() == {probe.name for probe in probes() if probe.must}
    assert "UndefinedError" in wrong["user"]


# begin_tokens


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_begin_tokens_are_counted(count: int) -> None:
    assert begin_tokens(view_of("{{ bos_token }}" * count + CHATML, **BEGIN)) == count


def test_a_begin_token_further_on_or_without_a_text_counts_nothing() -> None:
    assert begin_tokens(view_of(CHATML.replace("message['role']", "bos_token + message['role']"), **BEGIN)) == 0
    assert begin_tokens(view_of("{{ bos_token }}" + CHATML)) == 0
    assert begin_tokens(view_of("{{ raise_exception('no') }}", **BEGIN)) == 0


# vanished


@pytest.mark.parametrize(
    ("content", "dialogues"),
    [
        ("m.content", set()),
        ("m.content[0].text", {"user", "several turns", "look-alikes", "scripts"}),
        ("m.content if loop.last", {"several turns"}),
        # Changed, and there.
        ("m.content | replace('**', '') | replace('</s>', '')", set()),
        ("m.content | upper", set()),
    ],
)
def test_a_text_that_vanishes_where_it_has_to_work(content: str, dialogues: set[str]) -> None:
    assert {name for name, _ in vanished(view_of(TURN.replace("m.content", content)))} == dialogues


# unknown_tokens


@pytest.mark.parametrize(
    "token",
    [
        "<|turn>",
        "<turn|>",
        "<|tool_call>",
        "<\uff5cturn>",
        "<pad>",
        "<unk>",
        "<begin_of_image>",
        "<SPECIAL_10>",
        "<reserved_106>",
        "<unused7>",
        "<extra_id_0>",
        "<|user|>",
        "<|end_of_turn|>",
        "<\uff5cUser\uff5c>",
        "<s>",
        "</s>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<bos>",
        "<eos>",
    ],
)
def test_what_is_written_like_a_token_and_is_none(token: str) -> None:
    view = view_of(token + CHATML)
    assert unknown_tokens(view, KNOWN) == (token,)
    assert unknown_tokens(view, KNOWN | {token}) == ()


@pytest.mark.parametrize("text", ["[INST]", "<tool_call>", "<think>", "a < b > c", "<|two words|>", "<||>"])
def test_what_is_not_written_like_a_token(text: str) -> None:
    assert unknown_tokens(view_of(text + CHATML), KNOWN) == ()


def test_all_of_them_are_named() -> None:
    marks = ("<turn|>", "<|turn>", "<|channel|>", "<|channel>", "<channel|>")
    assert unknown_tokens(view_of("".join(marks) + CHATML), KNOWN) == tuple(sorted(marks))


def test_a_text_that_a_template_changes_is_not_taken_for_its_own_marks() -> None:
    assert (
        unknown_tokens(view_of(CHATML.replace("message['content']", "message['content'] | replace('**', '')")), KNOWN)
        == ()
    )


def test_a_token_is_looked_for_in_every_dialogue_and_not_in_texts() -> None:
    assert unknown_tokens(view_of(CHATML + "{{ '<|tools|>' if tools }}"), KNOWN) == ("<|tools|>",)
    # The dialogue 'look-alikes' has several within a person's words.
    assert unknown_tokens(view_of(CHATML), KNOWN) == ()


# growth


def test_a_dialogue_that_grows_at_its_end() -> None:
    assert growth(view_of(CHATML)) == Growth("whole")
    assert growth(view_of(TURN)) == Growth("whole")


def test_what_asks_for_an_answer_may_be_no_part_of_it() -> None:
    grown = growth(view_of(MANNERS["deepseek_r1"].template, **MANNERS["deepseek_r1"].names))
    assert grown
    assert grown.kept == "turn"
    assert grown.before.endswith("?<\uff5cAssistant\uff5c>")


def test_a_dialogue_that_changes_what_came_before() -> None:
    grown = growth(view_of("{{ messages | length }} turns\n" + CHATML))
    assert grown == Growth("less", "")
    grown = growth(view_of("<|im_start|>" + "{{ messages[-1].content }}\n" + CHATML))
    assert grown == Growth("less", "<|im_start|>")
    moved = view_of(MANNERS["mistral"].template, **MANNERS["mistral"].names)
    assert growth(moved) == Growth("whole")
    assert growth(moved, "system+user", "system, several turns") == Growth("less", "<s>[INST] ")


def test_nothing_is_said_of_a_dialogue_that_cannot_be_continued() -> None:
    assert growth(view_of("{{ raise_exception('no') if messages | length > 1 }}" + CHATML)) is None
    assert growth(view_of("{{ raise_exception('no') if messages | length < 2 }}" + CHATML)) is None


@pytest.mark.parametrize(
    ("first", "second", "count"), [("ab", "ac", 1), ("", "a", 0), ("ab", "abc", 2), ("ab", "ab", 2)]
)
def test_what_two_texts_share(first: str, second: str, count: int) -> None:
    assert shared(first, second) == shared(second, first) == shared([*first], [*second]) == count


# surprising_variables


def test_a_slip_of_the_pen_is_a_surprise() -> None:
    view = view_of(CHATML.replace("if add_generation_prompt", "if add_generation_promt"))
    assert surprising_variables(view) == ("add_generation_promt",)
    assert surprising_variables(view_of(CHATML + "{{ eos }}{{ bos }}")) == ("bos", "eos")


@pytest.mark.parametrize(
    "read",
    [
        "enable_thinking",
        "documents",
        "tools",
        "date_string is defined",
        "eos_token",
        "strftime_now('%d')",
        "loop_count",
    ],
)
def test_what_callers_give_is_none(read: str) -> None:
    template = f"{{% set loop_count = 1 %}}{CHATML}{{{{ '' if {read} else '' }}}}"
    assert surprising_variables(view_of(template)) == ()


def test_a_special_token_that_the_tokenizer_names_is_none() -> None:
    """transformers hands every key that ends in `_token` to templates."""
    assert surprising_variables(view_of(CHATML + "{{ image_token }}")) == ("image_token",)
    assert surprising_variables(view_of(CHATML + "{{ image_token }}", image_token="<image>")) == ()


def test_the_variables_of_all_templates_count() -> None:
    assert look({"default": CHATML, "tool_use": CHATML + "{{ toolz }}"}, {}).variables == {"toolz"}


# generation_prompt

PROMPTS = {
    "a turn of its own": (TURN, "<|im_start|>assistant\n", "", "<|im_start|>assistant\n"),
    "a token of which another begins alike": (TURN, "<|assistant|>\n", "<|endoftext|>", "<|assistant|>\n"),
    "tokens that share more than their mark": (TURN, "<|end_a|>", "<|end_b|>", "<|end_a|>"),
    "a square bracket": (TURN, "[ANSWER]", "[END]", "[ANSWER]"),
    "plain words": ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "Answer:", "", "Answer:"),
    "behind a token that is complete": (TURN, "x", "", "x"),
    "a sign that opens nothing": ("{% for m in messages %}< {{ m.content }}\n{% endfor %}", "Answer:", "", "Answer:"),
    "an open bracket around the turn": (
        "{% for m in messages %}[{{ m.role }}: {{ m.content }}{% endfor %}",
        "\n[assistant:",
        "",
        "\n[assistant:",
    ),
    "no effect": (TURN, "<|im_start|>", "<|im_start|>", ""),
    "no effect, within an open bracket": ("{% for m in messages %}[{{ m.content }}{% endfor %}", "", "", ""),
    "what it takes away": (TURN, "", "<|endoftext|>", ""),
}


@pytest.mark.parametrize("case", PROMPTS)
def test_what_asks_for_an_answer_is_cut_at_a_token(case: str) -> None:
    template, asked, not_asked, wanted = PROMPTS[case]
    end = f"{{{{ {asked!r} if add_generation_prompt else {not_asked!r} }}}}"
    assert generation_prompt(view_of(template + end)) == wanted


def test_nothing_asks_for_an_answer_where_a_dialogue_is_refused() -> None:
    for condition in ("add_generation_prompt", "not add_generation_prompt"):
        refused = f"{{{{ raise_exception('no') if {condition} and messages | length == 1 }}}}{CHATML}"
        assert generation_prompt(view_of(refused)) == ""


def test_the_next_question_is_no_part_of_what_asks() -> None:
    text = view_of(CHATML).text("several turns") or ""
    assert text.endswith(f"{NEXT}<|im_end|>\n{generation_prompt(view_of(CHATML))}")
