"""Prompts whose templates another process renders: what mlx-lm would feed a model, and nothing compiled here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import pytest
from mlx_lm.utils import load_tokenizer  # noqa: TID251 -- the very reader whose prompts are compared
from transformers import AutoTokenizer  # noqa: TID251
from transformers.utils import chat_template_utils  # noqa: TID251

from chat_samples import MANNERS, write_chat_model
from mlx_publish.chat.child import render_all
from mlx_publish.chat.dialogues import Probe, probes
from mlx_publish.chat.look import NOW
from mlx_publish.chat.rendering import Rendered, Request
from mlx_publish.engine import prompts
from mlx_publish.engine.encoding import rendering
from mlx_publish.engine.prompts import finished, forbid
from mlx_publish.engine.questions import prompts_of
from mlx_publish.errors import Bug, Refused
from mlx_publish.evidence.measured import Messages, Question
from models import make_model
from tiny_tokenizer import CHATML

OPTIONS: tuple[dict[str, Any], ...] = ({}, {"enable_thinking": True}, {"enable_thinking": False})
USER = {"role": "user", "content": "Hi"}


class Still(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Still:
        return cls.fromisoformat(NOW).replace(tzinfo=tz)


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "_known", {})
    monkeypatch.setattr(chat_template_utils, "datetime", Still)


@pytest.fixture
def unable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever parses or compiles a template in this process fails."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a template is parsed here")

    chat_template_utils._compile_jinja_template.cache_clear()
    for name in ("_parse", "compile", "_tokenize", "from_string"):
        monkeypatch.setattr(jinja2.Environment, name, fail)


def apply(tokenizer: Any, probe: Probe, options: dict[str, Any], *, tokenize: bool) -> Any:
    tools = None if probe.tools is None else [dict(tool) for tool in probe.tools]
    asked = {**probe.options, **options}
    try:
        return tokenizer.apply_chat_template(
            [dict(message) for message in probe.messages],
            tools=tools,
            add_generation_prompt=probe.generation,
            tokenize=tokenize,
            **asked,
        )
    except jinja2.TemplateError as error:
        return type(error)


@pytest.fixture(scope="module", params=sorted(MANNERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("prompts") / "m", request.param)


@pytest.mark.parametrize("load", [load_tokenizer, AutoTokenizer.from_pretrained])
def test_text_and_ids_are_what_the_libraries_give_that_render_by_themselves(folder: Path, load: Any) -> None:
    """With tools, calls, reasoning, parts, dates and switches: all that a dialogue of ours has."""
    tokenizer = load(folder)
    calls = {
        f"{probe.name} {options} {tokenize}": partial(apply, tokenizer, probe, options, tokenize=tokenize)
        for probe in probes()
        for options in (OPTIONS if not probe.options else OPTIONS[:1])
        for tokenize in (True, False)
    }
    by_themselves = {name: _usual(call) for name, call in calls.items()}
    ours = finished(calls)
    texts = 0
    for name, theirs in by_themselves.items():
        made: Any = ours[name]
        if isinstance(theirs, (Exception, type)):
            assert isinstance(made, (Exception, type)), name
            continue
        texts += 1
        assert made == theirs if isinstance(theirs, (str, list)) else dict(made) == dict(theirs), name
    assert texts > 30


def _usual(call: Any) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001  some of these templates break at such dialogues
        return error


def test_nothing_is_parsed_here(tmp_path: Path, unable: None) -> None:
    tokenizer = load_tokenizer(make_model(tmp_path / "m"))
    text, ids = prompts_of(tokenizer, [question("q")])["q"]
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    with pytest.raises(AssertionError, match="parsed here"):
        tokenizer.apply_chat_template([USER])


def question(name: str, messages: Messages = (USER,), **more: Any) -> Question:
    return Question(name, messages, 1, **more)


@pytest.fixture
def forbidden() -> Iterator[None]:
    before = chat_template_utils._compile_jinja_template
    forbid()
    yield
    chat_template_utils._compile_jinja_template = before


def test_in_the_engine_s_process_nobody_may(tmp_path: Path, forbidden: None) -> None:
    tokenizer = load_tokenizer(make_model(tmp_path / "m"))
    with pytest.raises(Bug, match="outside of its child"):
        tokenizer.apply_chat_template([USER])
    assert prompts_of(tokenizer, [question("q")])["q"][0].endswith("assistant\n")
    with pytest.raises(Bug, match="outside of its child"):
        tokenizer.apply_chat_template([USER])


def test_a_question_that_brings_its_prompt_along_asks_no_template(unable: None) -> None:
    assert prompts_of(None, [question("q", rendered="Hi", ids=[7])]) == {"q": ("Hi", [7])}


def test_all_is_rendered_by_one_child_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(requests: Sequence[Request]) -> list[Rendered]:
        asked.append(len(requests))
        return render_all(requests)

    monkeypatch.setattr(prompts, "render_all", counted)
    tokenizer = load_tokenizer(make_model(tmp_path / "m"))
    dialogues = [[USER], [USER, {"role": "assistant", "content": "Yes?"}]]
    calls = rendering(tokenizer, dialogues)
    assert [*finished(calls).values()] == [*finished(calls).values()]
    prompts_of(tokenizer, [question("a"), question("b"), question("c", options={"mood": "sad"})])
    assert asked == [2, 2]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ 'x'.ljust(3 * 10 ** 9) }}", "256 MB of memory"),
        ("{{ ''.__class__ }}", "'__class__' of 'str' object is unsafe"),
    ],
)
def test_what_is_not_safe_is_refused_and_names_who_asked(tmp_path: Path, template: str, words: str) -> None:
    tokenizer = load_tokenizer(make_model(tmp_path / "m", chat_template=template + CHATML))
    with pytest.raises(Refused, match=r"\(question 'q'\)") as caught:
        prompts_of(tokenizer, [question("q")])
    assert (caught.value.check, words in caught.value.message) == ("template-safe", True)


def test_what_refuses_is_told_and_the_rest_is_rendered(tmp_path: Path) -> None:
    alternates = "{% if messages|length > 1 %}{{ raise_exception('one turn only') }}{% endif %}" + CHATML
    tokenizer = load_tokenizer(make_model(tmp_path / "m", chat_template=alternates))
    first, second = finished(rendering(tokenizer, [[USER], [USER, USER]])).values()
    assert str(second) == "one turn only"
    assert isinstance(first, str)
    with pytest.raises(Refused, match="cannot render the question 'two': one turn only") as caught:
        prompts_of(tokenizer, [question("one"), question("two", messages=[USER, USER])])
    assert caught.value.check == "template-renders"
