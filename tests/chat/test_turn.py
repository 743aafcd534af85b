"""What ends a turn of a template, read off what it rendered."""

from __future__ import annotations

import pytest

from mlx_publish.chat.look import look
from mlx_publish.chat.turn import TurnEnd, turn_end
from tiny_tokenizer import CHATML

TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (CHATML, TurnEnd("<|im_end|>", special=True)),
        (CHATML.replace("'<|im_end|>' + '\\n'", "eos_token"), TurnEnd("<|im_end|>", special=True)),
        # The next turn's beginning ends this one.
        (CHATML.replace("'<|im_end|>' + '\\n'", "'\\n'"), TurnEnd("<|im_start|>", special=True)),
        # Behind the last turn another token stands than between two.
        (
            CHATML.replace("'<|im_end|>'", "('<|endoftext|>' if loop.last else '<|im_end|>')"),
            TurnEnd("<|endoftext|>", special=True),
        ),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}", TurnEnd("\n\nuser: ")),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}###\n{% endfor %}", TurnEnd("###\n", mark=True)),
        (
            "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ '[END]\n' if not loop.last }}{% endfor %}",
            TurnEnd("[END]\n[user] ", mark=True),
        ),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", TurnEnd()),
    ],
)
def test_what_ends_a_turn(template: str, end: TurnEnd) -> None:
    assert turn_end(look({"default": template}, {"eos_token": "<|im_end|>"}), TOKENS) == end


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no assistant here') }}", "no assistant here"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "does not show"),
        ("{% for", "end of"),
    ],
)
def test_a_template_that_does_not_render_is_told(template: str, reason: str) -> None:
    end = turn_end(look({"default": template}, {}), TOKENS)
    assert end.text is None
    assert reason in (end.error or "")


HEADS = "{% for m in messages %}{{ '### ' + m.role | title + ':\n' + m.content + '\n\n' }}{% endfor %}"
ASKED = "{{ '### Assistant:\n' if add_generation_prompt }}"


COUNTED = (
    "{% for m in messages %}{{ '\n\n' if m.role == 'assistant' }}"
    "{{ '[Round ' ~ loop.index ~ ']\n\nQ: ' if m.role == 'user' else 'A: ' }}{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize(
    "template",
    [
        HEADS + ASKED,
        "Below is a task.\n\n" + HEADS + ASKED,
        # The head of the answer at the end of every dialogue.
        HEADS + "{{ '### Assistant:\n' }}",
        COUNTED,
        "{% for m in messages %}{{ 'USER: ' if m.role == 'user' else ' ASSISTANT: ' }}{{ m.content }}\n{% endfor %}",
        # Square brackets around the user's text, which are no tokens here.
        "{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST] ' if m.role == 'user' else m.content }}{% endfor %}",
    ],
)
def test_an_answer_that_the_end_token_alone_ends(template: str) -> None:
    end = turn_end(look({"default": template}, {}), TOKENS)
    assert (end.special, end.mark, end.stop) == (False, False, None)


@pytest.mark.parametrize("mark", ["<|im_end|>", "###", "[END]", "</answer>", "END"])
def test_a_text_that_closes_an_answer_is_no_token_and_has_to_be(mark: str) -> None:
    template = f"{{% for m in messages %}}{{{{ m.role }}}}: {{{{ m.content }}}}{mark}\n{{% endfor %}}"
    end = turn_end(look({"default": template}, {}), ("<|endoftext|>",))
    assert end.mark
    assert (end.stop or "").startswith(mark)
