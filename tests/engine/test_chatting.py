"""The same dialogues by transformers on the source and by mlx-lm on the output."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from gate import edit_json
from mlx_publish.chat.dialogues import probes
from mlx_publish.checks.template import differences
from mlx_publish.engine.chatting import chat
from mlx_publish.evidence.measured import ChatRendered, Dialogue, DialogueOrder, RenderedText
from mlx_publish.evidence.records import to_json
from models import make_model
from pipeline import read_json
from tiny_tokenizer import CHATML, build_tokenizer

THINK = ("<think>", "</think>")
ALTERNATES = "{% if messages|length > 1 %}{{ raise_exception('one turn only') }}{% endif %}" + CHATML
DATED = "{{ strftime_now('%d %b %Y %H:%M') }}\n" + CHATML
# Off where nobody says otherwise, as most models with a switch have it the other way round.
SWITCHED = CHATML + "{% if enable_thinking is defined and enable_thinking %}{{ '<think>' }}{% endif %}"
USER = {"role": "user", "content": "What is it?"}


def dialogue(name: str = "d", *messages: dict[str, str], **more: Any) -> DialogueOrder:
    asked: dict[str, Any] = {"tools": None, "options": {}, "generation": True}
    return DialogueOrder(name, messages or (USER,), **(asked | more))


def both(folder: Path, source: Path, *dialogues: DialogueOrder) -> ChatRendered:
    return chat(str(folder), str(source), {}, to_json(dialogues or (dialogue(),)), (), lambda _: None)


def dialogue_by(folder: Path, source: Path, **more: Any) -> Dialogue:
    return both(folder, source, dialogue(**more)).rendered["d"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only to be read."""
    return make_model(tmp_path_factory.mktemp("chatting") / "m")


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make copies of the model with another template, and other tokens."""

    def make(name: str, template: str = CHATML, *tokens: str) -> Path:
        folder = shutil.copytree(plain, tmp_path / name)
        made = Tokenizer.from_file(str(folder / "tokenizer.json"))
        made.add_tokens(list(tokens))
        made.save(str(folder / "tokenizer.json"))
        return edit_json(folder, "tokenizer_config.json", chat_template=template)

    return make


def test_the_same_folder_gives_the_same(plain: Path) -> None:
    asked = [
        DialogueOrder(probe.name, probe.messages, probe.tools, probe.options, probe.generation) for probe in probes()
    ]
    report = both(plain, plain, *asked)
    assert (report.warnings, report.thinks) == ([], False)
    assert list(report.rendered) == [probe.name for probe in probes()]
    assert not list(differences(report))
    assert report.rendered["user"].made == report.rendered["user"].source


def test_text_and_ids_are_those_of_the_template_and_the_tokenizer(plain: Path) -> None:
    text = "<|im_start|>user\nWhat is it?<|im_end|>\n"
    made, tokenizer = dialogue_by(plain, plain, generation=False).made, build_tokenizer()
    assert made == RenderedText(text, tokenizer.encode(text).ids)
    assert dialogue_by(plain, plain).made.text == f"{text}<|im_start|>assistant\n"


def test_a_changed_template_shows(plain: Path, copy: Callable[..., Path]) -> None:
    other = copy("other", CHATML.replace("assistant", "model"))
    assert dialogue_by(other, plain, generation=False).made == dialogue_by(plain, plain, generation=False).source
    report = both(other, plain)
    assert report.rendered["d"].made.text.endswith("<|im_start|>model\n")
    [(name, what)] = differences(report)
    assert (name, what.startswith("text ")) == ("d", True)


def test_a_changed_vocabulary_shows(plain: Path, copy: Callable[..., Path]) -> None:
    other = copy("other", CHATML, "What")
    report = both(other, plain)
    made, source = report.rendered["d"].made, report.rendered["d"].source
    assert made.text == source.text
    assert (286 in made.ids, len(source.ids) - len(made.ids)) == (True, len("What") - 1)
    [(_, what)] = differences(report)
    assert what.startswith("ids ")


def test_ids_of_the_source_are_of_its_file_and_not_of_its_class(copy: Callable[..., Path]) -> None:
    """Transformers 5 drops this pre-tokenizer for this class."""
    source = copy("source")
    split = {"type": "Split", "pattern": {"String": "hat"}, "behavior": "Isolated", "invert": False}
    before = read_json(source / "tokenizer.json")["pre_tokenizer"]
    edit_json(source, "tokenizer.json", pre_tokenizer={"type": "Sequence", "pretokenizers": [split, before]})
    made = Tokenizer.from_file(str(source / "tokenizer.json"))
    edit_json(source, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    rendered = dialogue_by(source, source).source
    assert rendered.ids == made.encode(rendered.text, add_special_tokens=False).ids


def test_what_both_refuse_is_no_difference(copy: Callable[..., Path]) -> None:
    folder = copy("m", ALTERNATES)
    two = both(folder, folder, dialogue("one"), dialogue("two", USER, USER))
    assert two.rendered["one"].made.text
    assert two.rendered["one"].made.error is None
    refused = RenderedText(error="one turn only")
    assert two.rendered["two"] == Dialogue(refused, refused)
    assert not list(differences(two))


def test_what_one_refuses_is_a_difference(plain: Path, copy: Callable[..., Path]) -> None:
    strict = copy("m", ALTERNATES)
    for folder, source, whose in ((strict, plain, "converted"), (plain, strict, "source's")):
        [(_, what)] = differences(both(folder, source, dialogue("d", USER, USER)))
        assert what == f"the {whose} template refuses: one turn only"


def test_an_error_is_cut(copy: Callable[..., Path]) -> None:
    folder = copy("m", "{{ raise_exception('x' * 9000) }}")
    assert dialogue_by(folder, folder).made == RenderedText(error="x" * 500)


def test_the_clock_stands_still(copy: Callable[..., Path]) -> None:
    folder = copy("m", DATED)
    pair = dialogue_by(folder, folder)
    assert pair.made == pair.source
    assert pair.made.text.startswith("01 Mar 2026 12:00\n")


def test_a_switch_that_mlx_lm_sets_by_itself_is_told(copy: Callable[..., Path]) -> None:
    """It sets the switch wherever the tokenizer knows the tokens for thinking."""
    folder = copy("m", SWITCHED, *THINK)
    report = both(
        folder,
        folder,
        dialogue("unset"),
        dialogue("on", options={"enable_thinking": True}),
        dialogue("off", options={"enable_thinking": False}),
    )
    unset, on, off = report.rendered.values()
    assert report.thinks is True
    assert unset.by_default is True
    assert (unset.made, unset.source) == (on.made, off.source)
    assert unset.made.text == f"{unset.source.text}<think>"
    assert (on.by_default, off.by_default) == (False, False)
    assert (on.made, off.made) == (on.source, off.source)
    assert not list(differences(report))


def test_without_those_tokens_it_sets_the_switch_off(copy: Callable[..., Path]) -> None:
    folder = copy("m", SWITCHED.replace("is defined and", "is not defined or"))
    report = both(folder, folder)
    assert (report.thinks, report.rendered["d"].by_default) == (False, True)
    assert report.rendered["d"].source.text == f"{report.rendered['d'].made.text}<think>"


def test_a_switch_does_not_explain_another_difference(copy: Callable[..., Path]) -> None:
    source, folder = copy("source", SWITCHED, *THINK), copy("m", f"{SWITCHED}!", *THINK)
    report = both(folder, source)
    assert not report.rendered["d"].by_default
    assert len(list(differences(report))) == 1


def test_tools_reach_the_template(copy: Callable[..., Path]) -> None:
    folder = copy("m", "{{ tools | length if tools else 'none' }}" + CHATML)
    tool = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {}}}
    for tools, begins in ((None, "none"), ([tool], "1")):
        pair = dialogue_by(folder, folder, tools=tools)
        assert pair.made == pair.source
        assert pair.made.text.startswith(begins)
