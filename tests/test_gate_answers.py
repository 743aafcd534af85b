"""The smoke test through the command line: what a model answers is what its table says, here and unquantized."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- damages a converted model
import pytest

from conftest import once
from gate import as_transformers5, edit_json, gate, loaded
from mlx_publish.context import Context, Outcome
from mlx_publish.engine.answering import answers_of
from mlx_publish.evidence.measured import Question
from mlx_publish.evidence.report import verdict_of
from mlx_publish.evidence.results import Smoke
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.stages import smoke_stage
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import ANSWER, answer_table, make_model, make_scripted
from pipeline import User, checks, read_json, write_recipe
from tiny_tokenizer import END_OF_TEXT, TURN_END, build_tokenizer

NAMES = ("asked", "colours", "one word", "long text")
THE, MOON, NEWLINE, LETTER = (build_tokenizer().encode(text).ids[0] for text in ("The", " Moon", "\n", "a"))
THETA, WINDOW = 250_000.0, 128


@dataclass(frozen=True)
class Smoked:
    """What `run --until smoke` left of the model `root`/m in `root`/work."""

    root: Path
    label: str = "4bit"

    @property
    def source(self) -> Path:
        return self.root / "m"

    @property
    def kept(self) -> Path:
        """The source's answers."""
        return self.root / "work/m/source/answers.json"

    @property
    def variant(self) -> Path:
        return self.root / "work/m" / self.label

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.variant / "smoke.json")["result"]
        return found

    @property
    def odd(self) -> dict[str, str]:
        """Status of the checks of the answers that do not pass."""
        found = checks(self.variant, "smoke")
        return {
            name: found[name] for name in ("loads", "answers", "stops", "leaks", "long-prompt") if found[name] != "pass"
        }

    def says(self, check: str) -> str:
        found = read_json(self.variant / "smoke.json")["checks"]
        return next(str(one["message"]) for one in found if one["id"] == check)

    def answers(self, key: str = "answer") -> dict[str, Any]:
        """One thing of all answers, by question."""
        all_ = {"asked": self.result["exchange"], **self.result["answers"]}
        return {name: one[key] for name, one in all_.items()}

    def of_source(self, key: str = "answer") -> dict[str, Any]:
        return {name: one[key] for name, one in self.result["source_answers"].items()}

    def smoke(self) -> str:
        """Ask again, whatever is known; returns what was said."""
        variant = ("--dtype", "bfloat16") if self.label == "bf16" else ()
        words = ("--source", self.source, "--work", self.root / "work", *variant, "--force")
        return User(self.root / "home").run("smoke", *words).text


def run(source: Path, *flags: str, label: str = "4bit") -> Smoked:
    gate(source, "--until", "smoke", *flags, command="run")
    return Smoked(source.parent, label)


def copy(of: Smoked, to: Path) -> Smoked:
    """One that a test may change; the source comes along, and is known by its bytes."""
    shutil.copytree(of.root, to)
    return Smoked(to, of.label)


@pytest.fixture(scope="session")
def good(shared: Path) -> Smoked:
    """Only to be read."""
    return Smoked(once(shared / "answers-good", lambda root: run(make_scripted(root / "m", answer_table()))))


def test_a_good_model_says_what_its_table_says(good: Smoked) -> None:
    assert good.odd == {}
    assert good.answers() == good.of_source() == dict.fromkeys(NAMES, ANSWER)
    assert set(good.answers("stop").values()) == {"stop"}
    exchange = good.result["exchange"]
    assert [message["role"] for message in exchange["messages"]] == ["system", "user"]
    assert all(message["content"] in exchange["rendered"] for message in exchange["messages"])
    assert (exchange["stop_id"], good.result["stop_ids"], good.result["vocabulary"]) == (TURN_END, [TURN_END], 286)
    assert good.answers("prompt_tokens")["long text"] > 512
    assert good.says("stops") == "4 of 4 answers stopped at an EOS id, including all that do unquantized"
    assert all(one["same"] for one in good.result["dialogues"].values())


def test_the_sources_answers_are_found_while_it_is_converted(good: Smoked) -> None:
    assert read_json(good.kept)["result"]["answers"].keys() == set(NAMES)
    assert not (good.kept.parent / "answers.log").exists()


def test_the_source_is_not_asked_again(good: Smoked, tmp_path: Path) -> None:
    mine = copy(good, tmp_path / "mine")
    before, report = mine.kept.stat(), (mine.variant / "smoke.json").read_bytes()
    text = mine.smoke()
    assert "4bit answers:" in text
    after = mine.kept.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert not (mine.kept.parent / "answers.log").exists()
    # The digests of the reports before it differ: these name the folder.
    assert {**json.loads((mine.variant / "smoke.json").read_bytes()), "chain": 0} == {**json.loads(report), "chain": 0}


# A source, and what is odd about its answers in both; `says` is one check and the beginning of its message.
LOOP = {**answer_table("abc", end=None)}
ODD: dict[str, tuple[dict[int, int], dict[str, str], tuple[str, str], str]] = {
    "never stops": (
        LOOP,
        {"stops": "warn"},
        ("stops", "no answer stopped before its token limit; the unquantized model behaves the same"),
        "abcabc",
    ),
    "one token for ever": (
        {NEWLINE: LETTER, LETTER: LETTER},
        {"answers": "warn", "stops": "warn"},
        ("answers", "to 'asked' the answer repeats one token endlessly; unquantized, the answer repeats one"),
        "aaaaaaaaaa",
    ),
    "leaks": (
        {NEWLINE: THE, THE: END_OF_TEXT, END_OF_TEXT: TURN_END},
        {"leaks": "warn"},
        ("leaks", "to 'asked' it says <|endoftext|>, as does the unquantized model"),
        "The<|endoftext|>",
    ),
    "empty": (
        {},
        {"answers": "warn"},
        ("answers", "to 'asked' the answer is empty; unquantized, the answer is empty"),
        "",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_in_the_source_too_is_told_and_published(tmp_path: Path, case: str) -> None:
    table, odd, (check, message), begins = ODD[case]
    made = run(make_scripted(tmp_path / "m", table))
    assert made.odd == odd
    assert made.says(check).startswith(message)
    assert made.answers() == made.of_source()
    for text in made.answers().values():
        assert text.startswith(begins)
        assert bool(text) is bool(begins)


def test_without_a_template_texts_are_continued(tmp_path: Path) -> None:
    """All four questions end in a full stop, which the answer has none of."""
    answer = ANSWER.removesuffix(".")
    made = run(make_scripted(tmp_path / "m", answer_table(answer, prompt_end="."), chat_template=None))
    assert made.odd == {}
    assert made.answers() == made.of_source() == dict.fromkeys(NAMES, answer)
    found = made.result
    assert (found["chat_template"], found["system"], found["dialogues"]) == (False, "none", {})
    [message] = found["exchange"]["messages"]
    assert message == {"role": "user", "content": found["exchange"]["rendered"]}
    assert found["exchange"]["prompt_tokens"] == len(build_tokenizer().encode(message["content"]).ids)


@pytest.fixture(scope="session")
def mended(shared: Path) -> Smoked:
    """No file of the source names the token that ends a turn, and generation_config.json is narrower still."""

    def make(root: Path) -> None:
        source = make_scripted(root / "m", answer_table())
        edit_json(source, "tokenizer_config.json", eos_token="<|endoftext|>")
        edit_json(source, "config.json", eos_token_id=[END_OF_TEXT, THE])
        edit_json(source, "generation_config.json", eos_token_id=END_OF_TEXT)
        run(source)

    return Smoked(once(shared / "answers-mended", make))


def test_what_would_never_stop_is_mended_and_stops(mended: Smoked) -> None:
    assert checks(mended.variant, "convert")["stop-complete"] == "fixed"
    assert mended.odd == {}
    assert mended.result["stop_ids"] == [END_OF_TEXT, TURN_END]
    assert mended.answers() == dict.fromkeys(NAMES, ANSWER)
    assert set(mended.answers("stop").values()) == {"stop"}


def test_the_source_alone_stops_at_the_same_ids(mended: Smoked, tmp_path: Path) -> None:
    mine = copy(mended, tmp_path / "mine")
    mine.kept.unlink()
    mine.smoke()
    assert mine.of_source() == dict.fromkeys(NAMES, ANSWER)
    assert read_json(mine.kept)["result"]["stop_ids"] == [END_OF_TEXT, TURN_END]


def test_the_source_stops_at_the_same_ids_while_it_is_converted(mended: Smoked) -> None:
    assert mended.of_source() == dict.fromkeys(NAMES, ANSWER)
    assert read_json(mended.kept)["result"]["stop_ids"] == [END_OF_TEXT, TURN_END]


@pytest.fixture(scope="session")
def newer(shared: Path) -> Smoked:
    """A random model with a window, spelt as transformers 5 does; its unquantized variant answers as it does."""

    def make(root: Path) -> None:
        kinds = ["sliding_attention", "full_attention"]
        config = {"sliding_window": WINDOW, "layer_types": kinds, "rope_theta": THETA}
        source = make_model(root / "m", "llama", config=config)
        run(as_transformers5(source), "--dtype", "bfloat16")

    return Smoked(once(shared / "answers-newer", make), "bf16")


def test_a_long_prompt_goes_beyond_the_window(newer: Smoked) -> None:
    count = newer.answers("prompt_tokens")["long text"]
    assert WINDOW < count < 2 * WINDOW + 64
    assert newer.says("long-prompt") == f"a prompt of {count} tokens, beyond the window of 128, is answered"


def test_the_source_answers_alike_while_it_is_converted_and_afterwards(newer: Smoked, tmp_path: Path) -> None:
    """Its numbers reach mlx-lm both times, though only the newer spelling has them."""
    mine = copy(newer, tmp_path / "mine")
    before = read_json(mine.kept)["result"]
    mine.kept.unlink()
    mine.smoke()
    after = read_json(mine.kept)["result"]
    assert (mine.kept.parent / "answers.log").exists()
    assert {**after, "warnings": None} == {**before, "warnings": None}
    assert mine.answers("tokens") == mine.of_source("tokens")
    # Read as it stands, it would say something else.
    asked = Question("asked", mine.result["exchange"]["messages"], max_tokens=96)
    raw = answers_of(*loaded(mine.source), [asked], "float32", lambda _: None).answers["asked"]
    assert raw.tokens != mine.of_source("tokens")["asked"]


def swapped(folder: Path, one: int, other: int) -> None:
    """Let a model say one token in the place of another, and the other way round."""
    path = folder / "model.safetensors"
    file: Any = mx.load(str(path), return_metadata=True)
    weights, about = file
    rows = mx.arange(weights["lm_head.weight"].shape[0])
    rows[one], rows[other] = other, one
    weights.update({name: value[rows] for name, value in weights.items() if name.startswith("lm_head.")})
    mx.eval(weights)
    mx.save_safetensors(str(path), weights, about)


# The two tokens whose rows in the head are swapped, and the check that must not let it through.
DAMAGES: dict[str, tuple[int, int, str, str]] = {
    "leaks": (MOON, END_OF_TEXT, "leaks", "to 'asked' it says <|endoftext|>, which users must not see"),
    "endless": (TURN_END, LETTER, "stops", "no answer stops, while 4 of 4 unquantized ones do"),
    "silent": (TURN_END, THE, "answers", "to 'asked' the answer is empty"),
}


@pytest.fixture(scope="session")
def damaged(shared: Path) -> Path:
    """Three conversions that were right, and were damaged afterwards: one for each kind of harm."""

    def make(root: Path) -> None:
        make_scripted(root / "m", answer_table())
        variants = [{"name": name, "bits": 4} for name in DAMAGES]
        recipe = write_recipe(root / "m.yaml", source="./m", variants=variants, smoke={"max_tokens": 48})
        User(root / "home").run("run", "--recipe", recipe, "--work", root / "work", "--until", "convert")
        for name, (one, other, *_) in DAMAGES.items():
            swapped(root / "work/m" / name / "model", one, other)

    return once(shared / "answers-damaged", make)


@pytest.fixture(scope="module")
def judged(damaged: Path) -> Iterator[dict[str, Outcome]]:
    """The stage alone: the whole command would see that the bytes changed, and convert again."""
    recipe = recipe_from_file(damaged / "m.yaml")
    context = Context(recipe, recipe.variants, Work(damaged / "work", recipe.name), Console(io.StringIO()))
    yield dict(smoke_stage.run(context, recipe.variants))
    context.children.end()


@pytest.mark.parametrize("name", DAMAGES)
def test_a_conversion_that_lost_its_answer_is_refused(judged: dict[str, Outcome], name: str) -> None:
    _, _, check, message = DAMAGES[name]
    found = {finding.id: finding for finding in judged[name].checks}
    assert {id_ for id_, finding in found.items() if finding.status == "fail"} == {check}
    assert found[check].message == message
    assert found[check].remedy
    assert verdict_of(judged[name].checks) == "refused"
    smoke = judged[name].result
    assert isinstance(smoke, Smoke)
    assert {answer.answer for answer in smoke.source_answers.values()} == {ANSWER}
