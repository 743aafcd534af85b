"""The questions as the engine puts them to a model, and what it tells of the answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what is generated is counted again
import pytest
from tokenizers import AddedToken, Tokenizer

from gate import edit_json, loaded
from mlx_publish.engine import cores as cores_of
from mlx_publish.engine.answering import answers, answers_of
from mlx_publish.engine.backends import backend
from mlx_publish.engine.loading import fit
from mlx_publish.evidence.measured import Answer, Answers, Messages, Question
from mlx_publish.evidence.records import to_json
from mlx_publish.text.progress import Step
from models import ANSWER, answer_table, make_model, make_scripted
from tiny_tokenizer import CHATML, END_OF_TEXT, TURN_END, TURN_START, build_tokenizer

LIMIT = 16
NEWLINE = build_tokenizer().encode("\n").ids[0]
TEXT = "The Moon passes in front of the Sun. "
SWITCHED = CHATML + "{{ 'on' if enable_thinking else 'off' }}{{ mood }}"


HI: Messages = ({"role": "user", "content": "Hi"},)


def question(name: str = "q", messages: Messages | None = HI, max_tokens: int = LIMIT, **more: Any) -> Question:
    return Question(name, messages, max_tokens, **more)


def plain(prompt: str, name: str = "q", **more: Any) -> Question:
    return question(name, messages=None, prompt=prompt, **more)


def ask(folder: Path, asked: Question) -> Answer:
    """Return the answer of the model as its users load it."""
    return answers_of(*loaded(folder), [asked], "float32", lambda _: None).answers["q"]


def by_folders(folder: Path, tokenizer: Path, *asked: Question, progress: Any = lambda _: None) -> Answers:
    """Return the answers as the engine's job gives them."""
    return answers(str(folder), str(tokenizer), to_json(asked), progress)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says one sentence after a question, and after a plain text that ends in an exclamation mark."""
    table = {**answer_table(), **answer_table(prompt_end="!")}
    return make_scripted(tmp_path_factory.mktemp("answering") / "m", table)


def test_an_answer_that_stops(folder: Path) -> None:
    answer = ask(folder, question())
    assert answer.rendered == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert answer.prompt_tokens == len(build_tokenizer().encode(answer.rendered).ids)
    assert (answer.answer, answer.stop, answer.stop_id) == (ANSWER, "stop", TURN_END)
    assert answer.tokens == [*build_tokenizer().encode(ANSWER).ids, TURN_END]
    assert answer.leaked == []


@pytest.mark.parametrize("limit", [1, 3, 9, 10])
def test_the_limit_is_kept(folder: Path, limit: int) -> None:
    answer = ask(folder, question(max_tokens=limit))
    assert answer.tokens == ask(folder, question()).tokens[:limit]
    ended = limit == 10
    assert (answer.stop, answer.stop_id) == (("stop", TURN_END) if ended else ("length", None))


def test_it_is_greedy_and_says_the_same_again(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    answer, again = ask(folder, question()), ask(folder, question())
    assert answer == again
    model, tokenizer = loaded(folder)
    ids = tokenizer.encode(answer.rendered)
    for token in answer.tokens:
        logits: Any = model(mx.array([ids]))[0, -1].astype(mx.float32)
        # Two ways to add up in half precision may give a tie another winner.
        assert logits[token].item() == pytest.approx(logits.max().item(), abs=0.1)
        ids.append(token)


@pytest.mark.parametrize("tokens", [1, 7, 10, 11, 95])
def test_a_long_prompt_has_so_many_tokens_of_text_in_front(folder: Path, tokens: int) -> None:
    short, long = ask(folder, question()), ask(folder, question(long_text=TEXT, long_tokens=tokens))
    tokenizer = build_tokenizer()
    front = tokenizer.decode((tokenizer.encode(TEXT).ids * 10)[:tokens])
    assert long.rendered == short.rendered.replace("Hi", f"{front}\n\nHi")
    assert long.prompt_tokens - short.prompt_tokens == tokens + len("\n\n")
    assert long.answer == ANSWER


def test_the_long_text_stands_before_the_last_message_alone(folder: Path) -> None:
    messages = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    answer = ask(folder, question(messages=messages, long_text=TEXT, long_tokens=2))
    assert answer.rendered.count("The Moon") == 1
    assert "<|im_start|>user\nThe Moon\n\nuser<|im_end|>\n<|im_start|>assistant\n" in answer.rendered
    assert messages[-1]["content"] == "user"


def test_a_rendered_prompt_is_cut_in_the_report(folder: Path) -> None:
    answer = ask(folder, question(long_text="x", long_tokens=5000, max_tokens=1))
    assert (len(answer.rendered), answer.prompt_tokens > 5000) == (4000, True)


def test_without_a_template_the_prompt_is_the_text(folder: Path) -> None:
    answer = ask(folder, plain("Tell!"))
    assert (answer.rendered, answer.answer, answer.stop) == ("Tell!", ANSWER, "stop")
    assert answer.prompt_tokens == len(build_tokenizer().encode("Tell!").ids)
    long = ask(folder, plain("Tell!", long_text=TEXT, long_tokens=12))
    assert long.rendered == f"{TEXT}The Moon\n\nTell!"
    assert long.prompt_tokens == answer.prompt_tokens + 12 + 2


def test_options_reach_the_template(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "m")
    edit_json(other, "tokenizer_config.json", chat_template=SWITCHED)
    for options, ends in (({}, "off"), ({"enable_thinking": True}, "on"), ({"mood": " sad"}, "off sad")):
        assert ask(other, question(options=options)).rendered.endswith(f"assistant\n{ends}")


def test_what_leaks_is_named_and_what_ends_it_is_not(tmp_path: Path) -> None:
    """Of the added tokens only the special ones: others, as `<think>`, are for people to see."""
    table = {NEWLINE: 286, 286: TURN_START, TURN_START: 287, 287: END_OF_TEXT, END_OF_TEXT: TURN_END}
    folder = make_scripted(tmp_path / "m", table)
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert made.add_tokens([AddedToken("<think>", special=False), AddedToken("<odd>", special=True)]) == 2
    made.save(str(folder / "tokenizer.json"))
    answer = ask(folder, question())
    assert answer.tokens == [286, TURN_START, 287, END_OF_TEXT, TURN_END]
    assert answer.leaked == ["<odd>", "<|endoftext|>", "<|im_start|>"]
    assert ask(folder, question(max_tokens=1)).leaked == []


def test_at_the_limit_the_last_token_counts_as_said(tmp_path: Path) -> None:
    folder = make_scripted(tmp_path / "m", {NEWLINE: TURN_START})
    answer = ask(folder, question(max_tokens=1))
    assert (answer.stop, answer.leaked) == ("length", ["<|im_start|>"])


def test_all_questions_are_answered_by_name(folder: Path) -> None:
    messages: list[str | Step] = []
    asked = [question("one", max_tokens=2), plain("Hi!", name="two")]
    report = by_folders(folder, folder, *asked, progress=messages.append)
    assert messages == ["loading", *(Step("answering", number, 2, "questions") for number in range(3))]
    assert {name: answer.answer for name, answer in report.answers.items()} == {"one": "The Moon", "two": ANSWER}
    assert (report.warnings, report.stop_ids, report.vocabulary) == ([], [TURN_END], 286)
    assert report.computed_in == ("as stored" if mx.metal.is_available() else "float32")


def test_the_source_stops_at_every_end_that_the_output_names(folder: Path, tmp_path: Path) -> None:
    """Its own files name one that it never says; those of the tokenizer's folder are the mended ones."""
    source, made = (shutil.copytree(folder, tmp_path / name) for name in ("source", "made"))
    for place, ends in ((source, END_OF_TEXT), (made, [END_OF_TEXT, TURN_END])):
        edit_json(place, "tokenizer_config.json", eos_token="<|endoftext|>")
        for name in ("config.json", "generation_config.json"):
            edit_json(place, name, eos_token_id=ends)
    report = by_folders(source, made, question())
    assert report.stop_ids == [END_OF_TEXT, TURN_END]
    assert (report.answers["q"].answer, report.answers["q"].stop) == (ANSWER, "stop")
    assert backend().tokenizer_that_stops(made).eos_token_ids == loaded(made)[1].eos_token_ids
    alone = by_folders(source, source, question())
    assert (alone.stop_ids, alone.answers["q"].stop) == ([END_OF_TEXT], "length")
    assert alone.answers["q"].leaked == ["<|im_end|>"]


@pytest.mark.parametrize("arch", ["llama", "gemma2", "qwen3"])
def test_answers_made_side_by_side_are_those_made_one_by_one(
    tmp_path: Path, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        question(str(number), [{"role": "user", "content": "Hi " * (1 + 7 * number)}], 3 + 5 * number)
        for number in range(6)
    ]
    model, tokenizer = loaded(make_model(tmp_path / "m", arch))
    fit(model)

    def all_of(cores: int) -> Answers:
        monkeypatch.setattr(cores_of, "_given", [cores])
        return answers_of(model, tokenizer, asked, "float32", lambda _: None)

    one_by_one = all_of(1)
    assert list(one_by_one.answers) == [one.name for one in asked]
    for cores in (2, 4):
        together = all_of(cores)
        assert to_json(together) == to_json(one_by_one)
        assert list(together.answers) == list(one_by_one.answers)


def test_the_blas_has_the_cores_that_work_side_by_side_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(cores_of, "_set_blas", threads.append)
    monkeypatch.setattr(cores_of, "_given", [1])
    cores_of.give(8)
    for most, together in ((4, 4), (3, 3), (1, 1), (99, 8)):
        with cores_of.shared(most) as at_once:
            assert at_once == together
    assert threads == [8, 2, 8, 2, 8, 8, 8, 1, 8]
