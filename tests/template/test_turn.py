"""What ends a turn of a template, read off what it rendered."""

from __future__ import annotations

import pytest

from mlx_publish.template.look import look
from mlx_publish.template.turn import TurnEnd, turn_end
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
    found = turn_end(look({"default": template}, {}), TOKENS)
    assert found.text is None
    assert reason in (found.error or "")
