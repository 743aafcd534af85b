"""What is said of a variant's answers beside the source's, and of what loading warns of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from mlx_lm.utils import load_tokenizer  # noqa: TID251 -- what it says is what is judged
from tokenizers import Tokenizer
from transformers.utils import logging  # noqa: TID251

from gate import as_transformers5, edit_json
from mlx_publish.checks.answers import ANSWERS, AnswerFacts, explained
from mlx_publish.checks.base import run_checks
from mlx_publish.engine.loading import warnings_of_loading
from mlx_publish.evidence.measured import Answer, Answers
from mlx_publish.evidence.report import Finding
from models import make_model
from pipeline import read_json

VOCABULARY = 100
NAMES = ("asked", "colours", "one word", "long text")
LEGACY = (
    "You are using the default legacy behaviour of the <class 'transformers.models.llama.tokenization_llama_fast."
    "LlamaTokenizerFast'>. This is expected, and simply means that the `legacy` (previous) behavior will be used so "
    "nothing changes for you."
)
# As transformers 4.57 and before it words them, which mlx-lm runs on too.
OLDER = {
    LEGACY: "uses the legacy one",
    "You set `add_prefix_space`. The tokenizer needs to be converted from the slow tokenizers": "space",
    "The tokenizer class you load from this checkpoint is not the same type as the class this function is called "
    "from. It may result in unexpected tokenization.": "uses a different tokenizer class",
    "Unrecognized keys in `rope_scaling` for 'rope_type'='yarn': {'odd'}": "does not know a key",
    "This model has set a `original_max_position_embeddings` field, to be used together with "
    "`max_position_embeddings` to determine a scaling factor.": "two context lengths",
}


def answer(text: str = "Red.", tokens: tuple[int, ...] = (5, 6, 2), **more: Any) -> Answer:
    """One that comes to its end."""
    usual: dict[str, Any] = {"rendered": "", "prompt_tokens": 40, "stop": "stop", "stop_id": None, "leaked": ()}
    return Answer(answer=text, tokens=tokens, **(usual | more))


def endless(*tokens: int, **more: Any) -> Answer:
    return answer(tokens=tokens or (5, 6, 7), stop="length", **more)


def answers(usual: Answer | None = None, /, **changed: Answer) -> Answers:
    """Return what the engine gives: `usual` to every question, and another to those that are named."""
    by_name = dict.fromkeys(NAMES, usual or answer()) | {name.replace("_", " "): it for name, it in changed.items()}
    return Answers("float32", [2], VOCABULARY, by_name)


def judge(check: str, made: Answers | None = None, source: Answers | None = None, **more: Any) -> Finding:
    facts = AnswerFacts(made=made or answers(), source=source, **({"warnings": ()} | more))
    return next(finding for finding in run_checks(ANSWERS, facts) if finding.id == check)


def test_good_answers_pass_every_check() -> None:
    findings = run_checks(ANSWERS, AnswerFacts((), answers(), answers()))
    assert {finding.id: finding.status for finding in findings} == dict.fromkeys(
        ("loads", "answers", "stops", "leaks", "long-prompt"), "pass"
    )


# loads


def test_a_warning_that_is_known_is_explained() -> None:
    finding = judge("loads", warnings=(LEGACY,))
    assert finding.status == "pass"
    assert finding.message == f"loading prints known warnings: {explained(LEGACY)}"
    assert finding.details == {"warnings": {LEGACY: explained(LEGACY)}}


def test_an_unknown_warning_is_told_in_its_own_words() -> None:
    finding = judge("loads", warnings=(LEGACY, "A bolt is loose.", "x" * 400))
    assert (finding.status, finding.message) == ("warn", "loading says: A bolt is loose.")
    assert list(finding.details["warnings"]) == [LEGACY, "A bolt is loose.", "x" * 400]
    assert judge("loads", warnings=("x" * 400,)).message == f"loading says: {'x' * 300}"


def test_two_warnings_of_one_meaning_are_told_once() -> None:
    others = [f"Unrecognized keys in `rope_parameters` for 'rope_type'='{kind}': {{'odd'}}" for kind in ("yarn", "su")]
    assert judge("loads", warnings=tuple(others)).message.count("does not know a key") == 1


@pytest.mark.parametrize("text", OLDER)
def test_what_older_versions_say_is_known(text: str) -> None:
    assert OLDER[text] in explained(text)


@pytest.mark.parametrize(
    "text",
    [
        "The weights could not be read properly.",
        "`rope_parameters`'s factor field must be a float, got None",
        "The legacy cache is no longer supported.",
        "Set add_prefix_space to mend it.",
    ],
)
def test_a_word_of_a_known_warning_does_not_make_it_known(text: str) -> None:
    assert explained(text) == ""
    assert judge("loads", warnings=(text,)).status == "warn"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bad: '/Users/jo do/models/m' is odd", "bad: 'm' is odd"),
        ("bad: /tmp/x-1/links/tokenizer.json", "bad: tokenizer.json"),
        ("see https://huggingface.co/a/b#c and/or read", "see https://huggingface.co/a/b#c and/or read"),
    ],
)
def test_where_a_file_lay_is_not_told(text: str, shown: str) -> None:
    finding = judge("loads", warnings=(text,))
    assert finding.message == f"loading says: {shown}"
    assert list(finding.details["warnings"]) == [shown]


def llama_class(folder: Path) -> None:
    edit_json(folder, "tokenizer_config.json", tokenizer_class="LlamaTokenizer")


def many_tokens(folder: Path) -> None:
    """Transformers takes any Mistral vocabulary beyond 100,000 for one with the wrong pattern."""
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.add_tokens([f"<{number}>" for number in range(100_000)])
    made.save(str(folder / "tokenizer.json"))


def untidy(folder: Path) -> None:
    """With a decoder for which mlx-lm has no quick way, so that it decodes while it loads."""
    decoder = read_json(folder / "tokenizer.json")["decoder"]
    edit_json(folder, "tokenizer.json", decoder={"type": "Sequence", "decoders": [decoder]})
    edit_json(folder, "tokenizer_config.json", clean_up_tokenization_spaces=True)


def rope(**scaling: Any) -> Callable[[Path], object]:
    return lambda folder: edit_json(folder, "config.json", rope_scaling=scaling)


LONG = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
# What is done to a model of which architecture, and how transformers 5 begins its warning.
WARNINGS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a class for others": ("llama", llama_class, "`tokenizer_class` is `LlamaTokenizer` but"),
    "a large vocabulary": ("mistral", many_tokens, "The tokenizer you are loading from '"),
    "spaces to tidy up": ("llama", untidy, "Ignoring clean_up_tokenization_spaces=True"),
    "an unknown key": ("llama", rope(type="linear", factor=2.0, odd=1), "Unrecognized keys in `rope_parameters`"),
    "a factor that does not follow": (
        "llama",
        rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024),
        "The explicitly set RoPE",
    ),
    "no factor": (
        "phi3",
        lambda folder: as_transformers5(folder, rope_type="longrope", original_max_position_embeddings=1024, **LONG),
        "This model config has set a",
    ),
    "a dialogue that is too long": (
        "llama",
        lambda folder: edit_json(folder, "tokenizer_config.json", model_max_length=8),
        "Token indices sequence",
    ),
}


@pytest.fixture
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process of the engine: nothing was said yet, and no Hub is asked."""
    logging.warning_once.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize("case", WARNINGS)
def test_what_transformers_says_is_known(tmp_path: Path, case: str) -> None:
    arch, change, begins = WARNINGS[case]
    folder = make_model(tmp_path / "m", arch)
    change(folder)
    with warnings_of_loading() as warnings:
        made = load_tokenizer(folder)
        made.apply_chat_template([{"role": "user", "content": "What is it?"}], add_generation_prompt=True)
    assert [text[: len(begins)] for text in warnings] == [begins]
    finding = judge("loads", warnings=tuple(warnings))
    assert (finding.status, finding.message) == ("pass", f"loading prints known warnings: {explained(warnings[0])}")
    assert str(tmp_path) not in f"{finding.message} {finding.details}"


# answers

OUTSIDE = answer(tokens=(5, VOCABULARY, 2))
EMPTY = answer(" \n", tokens=(9, 2))
STUCK = endless(*[7] * 9)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (OUTSIDE, "it generates the id 100, outside the vocabulary"),
        (endless(5, -1), "it generates the id -1, outside the vocabulary"),
        (EMPTY, "the answer is empty"),
        (STUCK, "the answer repeats one token endlessly"),
        (answer(tokens=(*[7] * 9, 2)), "the answer repeats one token endlessly"),
    ],
)
def test_an_answer_that_is_none_is_refused_unless_the_source_has_none(wrong: Answer, words: str) -> None:
    made = answers(one_word=wrong)
    for source in (None, answers(), answers(colours=wrong)):
        finding = judge("answers", made, source)
        assert (finding.status, finding.message) == ("fail", f"to 'one word' {words}")
        assert "Use more bits" in finding.remedy
        assert finding.details == {"question": "one word"}
    finding = judge("answers", made, made)
    assert (finding.status, finding.message) == ("warn", f"to 'one word' {words}; unquantized, {words}")


def test_what_is_wrong_unquantized_is_told_as_it_is_there() -> None:
    finding = judge("answers", answers(asked=STUCK), answers(asked=EMPTY))
    assert finding.message == "to 'asked' the answer repeats one token endlessly; unquantized, the answer is empty"


def test_what_is_wrong_in_both_hides_nothing_that_is_wrong_here_alone() -> None:
    finding = judge("answers", answers(asked=EMPTY, long_text=STUCK), answers(asked=EMPTY))
    assert (finding.status, finding.details) == ("fail", {"question": "long text"})


@pytest.mark.parametrize(
    "right",
    [
        answer(tokens=(5, VOCABULARY - 1, 0, VOCABULARY + 5)),
        endless(*[7] * 8),
        endless(*[7] * 20, 8),
        answer(tokens=(*[7] * 8, 2)),
    ],
)
def test_at_the_edge_it_is_an_answer(right: Answer) -> None:
    """The id that ends it is never shown, wherever it lies."""
    finding = judge("answers", answers(right))
    assert finding.status == "pass"
    assert finding.message == f"4 answers of {len(right.tokens)} to {len(right.tokens)} tokens"


# stops


def test_without_an_id_to_stop_at_it_is_refused() -> None:
    finding = judge("stops", replace(answers(), stop_ids=[]), answers())
    assert (finding.status, finding.message) == ("fail", "the tokenizer has no EOS id")
    assert "eos_token_id" in finding.remedy


def test_where_the_source_stops_and_the_variant_never_does_it_is_refused() -> None:
    source = answers(endless(), asked=answer(), colours=answer())
    finding = judge("stops", answers(endless()), source)
    assert (finding.status, finding.message) == ("fail", "no answer stops, while 2 of 4 unquantized ones do")
    assert finding.details == {"missed": ["asked", "colours"]}
    assert finding.remedy


ASKED_ENDS = answers(endless(), asked=answer())
NEVER = "no answer stopped before its token limit"


@pytest.mark.parametrize(
    ("made", "source", "status", "message"),
    [
        (answers(endless()), ASKED_ENDS, "warn", "to 'asked' it does not stop, but the unquantized model does"),
        (
            ASKED_ENDS,
            answers(),
            "warn",
            "to 'colours', 'long text', 'one word' it does not stop, but the unquantized model does",
        ),
        (
            answers(endless(), colours=answer()),
            ASKED_ENDS,
            "warn",
            "to 'asked' it does not stop, but the unquantized model does",
        ),
        (answers(endless()), answers(endless()), "warn", f"{NEVER}; the unquantized model behaves the same"),
        (answers(endless()), None, "warn", NEVER),
        (ASKED_ENDS, None, "pass", "1 of 4 answers stopped at an EOS id"),
        (ASKED_ENDS, ASKED_ENDS, "pass", "1 of 4 answers stopped at an EOS id, including all that do unquantized"),
        (answers(), ASKED_ENDS, "pass", "4 of 4 answers stopped at an EOS id, including all that do unquantized"),
    ],
)
def test_it_is_to_stop_where_the_source_does(made: Answers, source: Answers | None, status: str, message: str) -> None:
    finding = judge("stops", made, source)
    assert (finding.status, finding.message) == (status, message)


# leaks

SHOWS = answer(leaked=["<s>"])
BOTH = answer(leaked=["<s>", "</s>"])


@pytest.mark.parametrize(
    ("made", "source"),
    [
        (answers(colours=SHOWS), None),
        (answers(colours=SHOWS), answers()),
        (answers(colours=SHOWS), answers(asked=SHOWS)),
        (answers(colours=BOTH), answers(colours=SHOWS)),
        (answers(asked=SHOWS, colours=SHOWS), answers(asked=SHOWS)),
    ],
)
def test_a_special_token_that_the_source_does_not_say_is_refused(made: Answers, source: Answers | None) -> None:
    finding = judge("leaks", made, source)
    shown = ", ".join(made.answers["colours"].leaked)
    assert (finding.status, finding.message) == ("fail", f"to 'colours' it says {shown}, which users must not see")
    assert "stop ids" in finding.remedy
    assert finding.details == {"leaked": made.answers["colours"].leaked}


@pytest.mark.parametrize("source", [answers(colours=SHOWS), answers(colours=BOTH)])
def test_one_that_the_source_says_too_is_told(source: Answers) -> None:
    finding = judge("leaks", answers(colours=SHOWS), source)
    assert (finding.status, finding.message) == ("warn", "to 'colours' it says <s>, as does the unquantized model")


def test_what_the_source_alone_says_does_not_matter() -> None:
    assert judge("leaks", answers(), answers(BOTH)).message == "no special token appears in an answer"


# long-prompt


@pytest.mark.parametrize(
    ("window", "status", "words"),
    [
        (None, "pass", "a prompt of 1,200 tokens is answered; there is no sliding window"),
        ((1199, 1200), "pass", "a prompt of 1,200 tokens, beyond the window of 1,199, is answered"),
        ((1200, 1200), "skip", "the window of 1,200 positions is not exceeded"),
        ((4096, 1200), "skip", "the window of 4,096 positions is not exceeded"),
    ],
)
def test_a_long_prompt_is_to_go_beyond_the_window(window: tuple[int, int] | None, status: str, words: str) -> None:
    finding = judge("long-prompt", answers(long_text=answer(prompt_tokens=1200)), window=window)
    assert finding.status == status
    assert finding.message.startswith(words)
