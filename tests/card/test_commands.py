"""Command lines of the card: the shell reads them as meant, and mlx-lm's own parsers take them."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
from argparse import ArgumentParser, Namespace
from typing import Any

import pytest

from mlx_publish.converters._mlx_lm_commands import STAND_INS, commands, shell
from mlx_publish.evidence.measurements import SmokeSpec
from samples import make_evidence

# Their parsers are asked; the package gives functions of the same names.
chat, generate, server = (importlib.import_module(f"mlx_lm.{name}") for name in ("chat", "generate", "server"))
SMOKE: dict[str, Any] = make_evidence()["smoke"]
NAME = "acme/Tiny-4bit"


def smoke(**changes: Any) -> SmokeSpec:
    """`way` is how the system text was given, `messages` how many there were."""
    given = dict(changes)
    way, count = given.pop("way", "native"), given.pop("messages", 2)
    exchange = SMOKE["exchange"] | {"messages": SMOKE["exchange"]["messages"][:count]}
    return SmokeSpec.model_validate(SMOKE | {"system": way, "exchange": exchange} | given)


def words(line: str) -> list[str]:
    """What a shell makes of a line; the program first."""
    text = line.replace("\\\n", "")
    program, *rest = shlex.split(text)
    said = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {text.partition(' ')[2]}"], capture_output=True, check=True
    ).stdout
    assert said.decode().split("\0")[:-1] == rest
    return [program, *rest]


def parsed(line: str, parser: ArgumentParser) -> Namespace:
    return parser.parse_args(words(line)[1:])


def server_parser(monkeypatch: pytest.MonkeyPatch) -> ArgumentParser:
    """The server makes its parser within `main`."""
    made: list[ArgumentParser] = []

    def stop(self: ArgumentParser, *_: object) -> Namespace:
        made.append(self)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(ArgumentParser, "parse_args", stop)
        with pytest.raises(SystemExit):
            server.main()
    return made[0]


def test_every_line_is_taken_by_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    made = commands(NAME, smoke())
    asked = parsed(made.generate, generate.setup_arg_parser())
    assert (asked.model, asked.system_prompt, asked.prompt, asked.max_tokens) == (
        NAME,
        "Be brief.",
        "What is the Moon?",
        256,
    )
    talk = parsed(made.chat, chat.setup_arg_parser())
    assert (talk.model, talk.system_prompt) == (NAME, "Be brief.")
    assert parsed(made.serve, server_parser(monkeypatch)).model == NAME


@pytest.mark.parametrize(
    ("way", "messages", "system", "prompt"),
    [
        ("native", 2, "Be brief.", "What is the Moon?"),
        ("first-user", 1, None, "Be brief.\\n\\nWhat is the Moon?"),
        ("own-turn", 2, None, "What is the Moon?"),
        ("own-turn", 1, None, "Be brief.\\n\\nWhat is the Moon?"),
        ("none", 1, None, "What is the Moon?"),
    ],
)
def test_the_system_text_goes_where_the_test_put_it(way: str, messages: int, system: str | None, prompt: str) -> None:
    made = commands(NAME, smoke(way=way, messages=messages))
    asked = parsed(made.generate, generate.setup_arg_parser())
    assert (asked.system_prompt, asked.prompt) == (system, prompt)
    assert ("--system-prompt" in made.chat) == (way == "native")


def body(request: str) -> dict[str, Any]:
    """The JSON of a request, through a shell that reads the marks."""
    said = subprocess.run(
        ["sh", "-c", f"curl() {{ cat; }}\n{request}"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, Any] = json.loads(said)
    return found


def test_a_request_asks_the_same() -> None:
    assert body(commands(NAME, smoke()).request)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the Moon?"},
    ]
    [folded] = body(commands(NAME, smoke(way="first-user")).request)["messages"]
    assert folded == {"role": "user", "content": "Be brief.\n\nWhat is the Moon?"}
    turns = body(commands(NAME, smoke(way="own-turn")).request)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "user"]


def test_the_switch_for_thinking_is_given_to_both() -> None:
    made = commands(NAME, smoke(options={"enable_thinking": False}))
    asked = parsed(made.generate, generate.setup_arg_parser())
    assert json.loads(asked.chat_template_config) == {"enable_thinking": False}
    assert body(made.request)["chat_template_kwargs"] == {"enable_thinking": False}


def test_without_a_chat_template_it_completes() -> None:
    made = commands(NAME, smoke(chat_template=False, way="none"))
    assert made.chat == ""
    assert "/v1/completions" in made.request
    assert body(made.request)["prompt"] == "What is the Moon?"


def test_without_a_smoke_test_there_is_a_question_all_the_same() -> None:
    assert STAND_INS["prompt"] in commands(NAME, None).generate


@pytest.mark.parametrize("text", ["two\nlines", "\\n", "x" * 300, "\x1b[31m", "", "\u202eabc"])
def test_what_cannot_be_read_in_a_command_is_replaced(text: str) -> None:
    made = commands(NAME, smoke(asked={"system": "Be brief.", "prompt": text}))
    assert parsed(made.generate, generate.setup_arg_parser()).prompt == STAND_INS["prompt"]


HOSTILE = (
    "$(touch x)",
    "`id`",
    "it's",
    'say "x"',
    "a;b|c&d",
    "!!",
    "${{ x }}",
    "-rf",
    "--model",
    "*",
    "~",
    "a b",
    "<b>",
    "'",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_shell_runs_nothing_of_a_question(text: str) -> None:
    made = commands(NAME, smoke(asked={"system": text, "prompt": text}))
    asked = parsed(made.generate, generate.setup_arg_parser())
    assert asked.prompt == text
    assert body(made.request)["messages"][1]["content"] == text


@pytest.mark.parametrize("text", [*HOSTILE, "", "plain", "\\", "\\n", "\n", "ü", "$HOME", '"$x"', "a'b\"c"])
def test_a_word_stays_the_same_word(text: str) -> None:
    for program in ("sh", "bash"):
        said = subprocess.run([program, "-c", f"printf %s {shell(text)}"], capture_output=True, check=True).stdout
        assert said.decode() == text
