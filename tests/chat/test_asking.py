"""Whether a prompt leads up to the answer, by the switch or because a template writes the head of the answer always."""

from __future__ import annotations

import pytest

from chat_samples import MANNERS
from mlx_publish.chat.asking import answer_head
from mlx_publish.chat.capabilities import capabilities
from mlx_publish.chat.look import Look, look
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.template import TEMPLATE
from mlx_publish.checks.template_facts import TemplateFacts
from tiny_tokenizer import CHATML

TURN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
STRICT = "{{ raise_exception('no') if messages | length > 1 and messages[0].role == messages[1].role }}"
STEPS = (
    "{% for m in messages %}{{ 'Source: ' + m.role + '\n\n ' + m.content + ' <step> ' }}{% endfor %}"
    "{{ 'Source: assistant\nDestination: user\n\n ' }}"
)
GUARD = (
    "<|user|>Is it safe?\n{% for m in messages %}{{ 'User' if m.role == 'user' else 'Agent' }}: {{ m.content }}\n\n"
    "{% endfor %}END<|end|><|assistant|>"
)
LEADS = {
    "the switch": CHATML,
    "the head always": TURN + "<|im_start|>assistant\n",
    "the head always, and an answer begins with more": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ '<|text|>' if m.role == 'assistant' }}{{ m.content }}<|im_end|>\n"
        "{% endfor %}<|im_start|>assistant\n"
    ),
    "the head always, alternating strictly": STRICT + TURN + "<|im_start|>assistant\n",
    "the head of answers to come differs from that of earlier ones": STEPS,
    "it differs, alternating strictly": STRICT + STEPS,
    "the question's own end": "{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else m.content }}{% endfor %}",
    "nothing between question and answer": "{% for m in messages %}{{ m.content }}\n{% endfor %}",
    "a guard that asks what to think of a dialogue": GUARD,
    "answers alone, without a dialogue": "{{ messages[0].content }}\nResponse:\n",
}
NOT = {
    "a question alone": TURN,
    "a question alone, alternating strictly": STRICT + TURN,
    "a question alone, in plain words": "{% for m in messages %}{{ m.role | title }}: {{ m.content }}\n{% endfor %}",
    "a question alone, closed otherwise than an answer": (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ '</a>' if m.role == 'assistant' }}</t>{% endfor %}"
    ),
    "the same, alternating strictly": STRICT
    + "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ '</a>' if m.role == 'assistant' }}</t>{% endfor %}",
}


def says(view: Look) -> str:
    findings = run_checks(TEMPLATE, TemplateFacts(view, capabilities(view), None))
    return next(finding.status for finding in findings if finding.id == "generation-prompt")


@pytest.mark.parametrize("case", LEADS)
def test_a_prompt_that_leads_up_to_the_answer(case: str) -> None:
    view = look({"default": LEADS[case]}, {})
    assert answer_head(view) is not None
    assert says(view) == "pass"


@pytest.mark.parametrize("case", NOT)
def test_a_prompt_that_ends_with_the_question(case: str) -> None:
    view = look({"default": NOT[case]}, {})
    assert answer_head(view) is None
    assert says(view) == "warn"


@pytest.mark.parametrize("manner", MANNERS)
def test_every_manner_asks_for_an_answer(manner: str) -> None:
    assert answer_head(look({"default": MANNERS[manner].template}, MANNERS[manner].names)) is not None
