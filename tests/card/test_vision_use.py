"""Python and command lines of the card for a model that sees: mlx-vlm's own parsers take them, and no shell runs a word."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.children.vision import NoVision, find_vision, package_folder
from mlx_publish.converters._mlx_vlm_use import QUESTION, commands, picture_of, sampling_flags, snippet
from mlx_publish.evidence.evidence import Sampling
from mlx_publish.evidence.measurements import SmokeSpec
from samples_that_see import make_hearing, make_seeing

NAME = "acme/Tiny-4bit"
ASKED = "What colour is the shape on the left? Answer with one word."


def smoke(**changes: Any) -> SmokeSpec:
    found = make_seeing()["smoke"]
    found["pictures"]["answers"][0] |= changes
    return SmokeSpec.model_validate(found)


def words(line: str) -> list[str]:
    """What a shell makes of a line; the program first."""
    text = line.replace("\\\n", "")
    program, *rest = shlex.split(text)
    said = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {text.partition(' ')[2]}"], capture_output=True, check=True
    ).stdout
    assert said.decode().split("\0")[:-1] == rest
    return [program, *rest]


def options_of(path: str) -> set[str]:
    """Return the options of a program of mlx-vlm, as its source adds them."""
    try:
        folder = package_folder(find_vision(), "mlx_vlm")
    except NoVision:
        folder = None
    if folder is None:
        pytest.skip("there is no mlx-vlm on this machine")
    tree = ast.parse((Path(folder) / path).read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    return {
        str(word.value)
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"
        for word in call.args
        if isinstance(word, ast.Constant)
    }


@pytest.mark.parametrize("found", [make_seeing(), make_hearing()])
def test_every_option_is_one_of_its_program(found: dict[str, Any]) -> None:
    made = commands(NAME, SmokeSpec.model_validate(found["smoke"]))
    flags = sampling_flags(Sampling(temperature=0.5, top_p=0.9, top_k=20, min_p=0.1, repetition_penalty=1.1))
    for line, path in (
        (f"{made.generate} {flags}", "generate/dispatch.py"),
        (made.chat, "chat.py"),
        (made.serve, "server/cli.py"),
    ):
        named = {word for word in words(line) if word.startswith("--")}
        assert named
        assert named <= options_of(path)
    quick = words(made.quick)
    assert quick[:4] == ["uvx", "--from", "mlx-vlm", "mlx_vlm.generate"]
    assert {word for word in quick[4:] if word.startswith("--")} <= options_of("generate/dispatch.py")


def test_the_picture_is_where_the_model_is() -> None:
    assert picture_of(NAME) == "https://huggingface.co/acme/Tiny-4bit/resolve/main/picture.png"
    assert picture_of("My Model") == "My Model/picture.png"
    asked = words(commands("My Model", smoke()).generate)
    assert asked[asked.index("--image") + 1] == "My Model/picture.png"
    assert asked[asked.index("--prompt") + 1] == ASKED


def test_nothing_that_was_not_asked_is_claimed_to_have_been() -> None:
    bare = SmokeSpec.model_validate({key: value for key, value in make_seeing()["smoke"].items() if key != "pictures"})
    for known in (None, bare):
        assert QUESTION in snippet(NAME, known)
        assert words(commands(NAME, known).generate)[4] == "picture.png"


def body(request: str) -> dict[str, Any]:
    """The JSON of a request, through a shell that reads the marks."""
    said = subprocess.run(
        ["sh", "-c", f"curl() {{ cat; }}\n{request}"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, Any] = json.loads(said)
    return found


def test_a_request_shows_the_picture_in_front_of_the_question() -> None:
    found = body(commands(NAME, smoke()).request)
    assert found["model"] == NAME
    assert found["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": picture_of(NAME)}},
        {"type": "text", "text": ASKED},
    ]
    assert "enable_thinking" not in found
    assert body(commands(NAME, SmokeSpec.model_validate(make_hearing()["smoke"])).request)["enable_thinking"] is True


def test_the_server_listens_to_this_machine_alone() -> None:
    assert words(commands(NAME, None).serve)[-2:] == ["--host", "127.0.0.1"]


HOSTILE = ("$(touch x)", "`id`", "it's", 'say "x"', "a;b|c&d", "!!", "-rf", "--model", "*", "~", "'", "JSON", '"}')


@pytest.mark.parametrize("text", HOSTILE)
def test_a_shell_runs_nothing_of_a_question(text: str) -> None:
    made = commands(NAME, smoke(question=text))
    asked = words(made.generate)
    given = next(word for word in asked if word.startswith("--prompt"))
    assert text in (given.partition("=")[2], asked[asked.index(given) + 1])
    assert body(made.request)["messages"][0]["content"][1]["text"] == text


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31m", "\u202eabc"])
def test_what_cannot_be_read_in_a_command_is_replaced(text: str) -> None:
    assert QUESTION in commands(NAME, smoke(question=text)).generate


def run(code: str) -> dict[str, Any]:
    """Run a snippet with a fake mlx_vlm; returns what it was asked."""
    tree = ast.parse(code)
    assert [ast.unparse(node) for node in tree.body[:2]] == [
        "from mlx_vlm import generate, load",
        "from mlx_vlm.prompt_utils import apply_chat_template",
    ]
    asked: dict[str, Any] = {}

    class Model:
        config = "its config"

    def load(name: str) -> tuple[type[Model], str]:
        asked["load"] = name
        return Model, "processor"

    def apply(processor: str, config: str, question: str, **options: Any) -> str:
        asked.update(processor=processor, config=config, question=question, options=options)
        return "rendered"

    def generate(model: object, processor: str, prompt: str, **given: Any) -> Any:
        assert (model, processor, prompt) == (Model, "processor", "rendered")
        asked["given"] = given
        return type("Result", (), {"text": "Red"})

    names = {"load": load, "generate": generate, "apply_chat_template": apply}
    exec(compile(ast.Module(tree.body[2:], []), "snippet", "exec"), names)  # noqa: S102
    return asked


@pytest.mark.parametrize("question", [ASKED, 'a "quoted" {braces} \\n\nline """ ${{ x }}'])
def test_the_snippet_asks_what_the_test_asked_greedily(question: str) -> None:
    asked = run(snippet(NAME, smoke(question=question)))
    if question == ASKED:
        assert asked["question"] == question
        assert asked["given"] == {"image": [picture_of(NAME)], "max_tokens": 256, "temperature": 0.0}
    assert (asked["load"], asked["config"], asked["options"]) == (NAME, "its config", {"num_images": 1})


def test_the_snippet_has_the_options_of_the_test() -> None:
    asked = run(snippet(NAME, SmokeSpec.model_validate(make_hearing()["smoke"])))
    assert asked["options"] == {"num_images": 1, "enable_thinking": True}
