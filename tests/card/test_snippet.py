"""Code on the card that does what the smoke test did."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from mlx_publish.converters._mlx_lm_python import OWN_TURN, snippet
from mlx_publish.evidence.measurements import SmokeSpec
from samples import make_evidence

HOSTILE = 'a "quoted" {braces} \\n\nnew line """ ${{ x }} ``` <b>'
SMOKE: dict[str, Any] = make_evidence()["smoke"]


class Tokenizer:
    """Remembers what it was asked to render."""

    def __init__(self) -> None:
        self.messages: Any = None
        self.options: Any = None

    def apply_chat_template(self, messages: Any, *, add_generation_prompt: bool, **options: Any) -> str:
        assert add_generation_prompt
        self.messages, self.options = messages, options
        return "rendered"


def run(code: str) -> tuple[str, Any, str]:
    """Run a snippet with a fake mlx_lm; gives what was loaded, the messages, and the prompt."""
    tree = ast.parse(code)
    assert ast.unparse(tree.body[0]) == "from mlx_lm import generate, load"
    asked: dict[str, str] = {}
    tokenizer = Tokenizer()

    def load(name: str) -> tuple[str, Tokenizer]:
        asked["load"] = name
        return "model", tokenizer

    def generate(*_: object, prompt: str, max_tokens: int, verbose: bool) -> str:
        assert (max_tokens, verbose) == (256, True)
        asked["prompt"] = prompt
        return ""

    exec(compile(ast.Module(tree.body[1:], []), "snippet", "exec"), {"load": load, "generate": generate})  # noqa: S102
    return asked["load"], tokenizer.messages, asked["prompt"]


@pytest.mark.parametrize("text", ["Be brief.", HOSTILE])
def test_a_native_system_role_is_shown(text: str) -> None:
    messages = [{"role": "system", "content": text}, {"role": "user", "content": text}]
    smoke = SMOKE | {"exchange": SMOKE["exchange"] | {"messages": messages}}
    assert run(snippet("acme/Tiny-4bit", SmokeSpec.model_validate(smoke))) == ("acme/Tiny-4bit", messages, "rendered")


@pytest.mark.parametrize("text", ["Be brief.", HOSTILE])
def test_a_folded_one_is_folded_as_the_test_did(text: str) -> None:
    smoke = SMOKE | {"system": "first-user", "asked": {"system": text, "prompt": f"{text}?"}}
    _, messages, prompt = run(snippet("x", SmokeSpec.model_validate(smoke)))
    assert messages == [{"role": "user", "content": f"{text}\n\n{text}?"}]
    assert prompt == "rendered"


def test_a_turn_of_its_own_is_shown_as_tested() -> None:
    messages = [{"role": "user", "content": "Be brief."}, {"role": "user", "content": "What?"}]
    smoke = SMOKE | {"system": "own-turn", "exchange": SMOKE["exchange"] | {"messages": messages}}
    code = snippet("x", SmokeSpec.model_validate(smoke))
    assert OWN_TURN in code
    assert run(code)[1] == messages


def test_options_of_the_test_are_shown() -> None:
    code = snippet("x", SmokeSpec.model_validate(SMOKE | {"options": {"enable_thinking": False}}))
    assert "add_generation_prompt=True, enable_thinking=False)" in code
    assert run(code)[2] == "rendered"


@pytest.mark.parametrize("text", ["Once", HOSTILE])
def test_without_a_template_the_prompt_is_the_text(text: str) -> None:
    smoke = SMOKE | {"chat_template": False, "exchange": SMOKE["exchange"] | {"rendered": text}}
    assert run(snippet("x", SmokeSpec.model_validate(smoke))) == ("x", None, text)


def test_without_a_smoke_test_it_still_runs() -> None:
    assert run(snippet(HOSTILE, None)) == (HOSTILE, None, "Hello")
