"""Tokenizer and stopping: what comes out is read by transformers, tokenizers and mlx-lm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GenerationConfig  # noqa: TID251 -- the reader of a converted model

from chat_samples import MANNERS
from gate import Change, edit_json, gate, loaded, same_files
from models import MISSING, make_model
from pipeline import read_json
from tiny_tokenizer import CHATML, END_OF_TEXT, TURN_END, TURN_START

TEXTS = ("The Moon passes", "Über 12,5 %\n\tx = 1", "<|im_start|>user\nHi<|im_end|>", "日本語 🙂", " in  front ")
PLAIN_END = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '###\n' }}{% endfor %}"
NO_END = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def ids_are_the_sources(source: Path, folder: Path) -> None:
    """The converted folder's tokenizer, loaded by transformers, and the source's tokenizer.json give the same ids."""
    wanted = Tokenizer.from_file(str(source / "tokenizer.json"))
    for made in (AutoTokenizer.from_pretrained(str(folder)), loaded(folder)[1]):
        for text in TEXTS:
            assert made.encode(text, add_special_tokens=False) == wanted.encode(text, add_special_tokens=False).ids


def ends(folder: Path) -> tuple[set[int], set[int], set[int]]:
    """What ends an answer: for mlx-lm, by generation_config.json as transformers reads it, and by config.json."""
    found: Any = GenerationConfig.from_pretrained(str(folder)).eos_token_id
    named: Any = read_json(folder / "config.json")["eos_token_id"]
    theirs, own = ({value} if isinstance(value, int) else set(value) for value in (found, named))
    return set(loaded(folder)[1].eos_token_ids), theirs, own


def generation(text: bytes) -> Change:
    return lambda folder: (folder / "generation_config.json").write_bytes(text)


def names(config: object, generation_config: object, eos: str = "<|im_end|>") -> Change:
    def change(folder: Path) -> None:
        edit_json(folder, "config.json", eos_token_id=config)
        edit_json(folder, "generation_config.json", eos_token_id=generation_config)
        edit_json(folder, "tokenizer_config.json", eos_token=eos)

    return change


# What the source says, which ids end an answer in the output.
STOPPING: dict[str, tuple[Change, set[int]]] = {
    "the turn's end is in no file": (names(END_OF_TEXT, END_OF_TEXT, "<|endoftext|>"), {END_OF_TEXT, TURN_END}),
    "generation_config.json is narrower": (names([END_OF_TEXT, TURN_END], END_OF_TEXT), {END_OF_TEXT, TURN_END}),
    "generation_config.json is broken": (generation(b'{"eos_token_id": [0, 2],}'), {TURN_END}),
    "generation_config.json is a list": (generation(b"[0, 2]"), {TURN_END}),
    "only the next turn has a token of its own": (
        lambda folder: edit_json(folder, "tokenizer_config.json", chat_template=CHATML.replace("<|im_end|>", "")),
        {TURN_END, TURN_START},
    ),
}


@pytest.mark.parametrize("case", STOPPING)
def test_all_files_name_every_end(tmp_path: Path, case: str) -> None:
    change, wanted = STOPPING[case]
    source = make_model(tmp_path / "m")
    change(source)
    made = gate(source)
    assert made.status()["stop-complete"] == "fixed"
    assert ends(made.model()) == (wanted, wanted, wanted)
    assert "eos_token_id" in made.message("stop-complete") or "rebuilt from" in made.message("stop-complete")


def test_what_is_right_is_left_as_it_is(tmp_path: Path) -> None:
    """Ends that agree, and tokens beyond the vocabulary that have their rows."""
    source = make_model(tmp_path / "m")
    more_tokens(286, 287)(source)
    made = gate(source)
    assert made.status()["stop-complete"] == "pass"
    assert same_files(source, made.model(), "generation_config.json")
    assert ends(made.model()) == ({TURN_END},) * 3
    assert made.message("ids-in-embedding") == "the largest id that text reaches is 287, of 320 rows"
    ids_are_the_sources(source, made.model())


def missing_end(folder: Path) -> None:
    names(MISSING, MISSING)(folder)
    edit_json(folder, "tokenizer_config.json", eos_token=MISSING)
    edit_json(folder, "special_tokens_map.json", eos_token=MISSING)


def more_tokens(*ids: int) -> Change:
    """Add tokens beyond the 320 rows of the embedding."""

    def change(folder: Path) -> None:
        like = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
        tokens = read_json(folder / "tokenizer.json")["added_tokens"]
        more = [{"id": id_, "content": f"<|extra_{id_}|>", **like} for id_ in ids]
        edit_json(folder, "tokenizer.json", added_tokens=[*tokens, *more])

    return change


def other_tokenizer(folder: Path) -> None:
    """Two descriptions of the special tokens, which the class believes more than tokenizer.json."""
    decoder = read_json(folder / "tokenizer_config.json")["added_tokens_decoder"]
    decoder["250"] = {**decoder["2"], "content": "Moon"}
    edit_json(folder, "tokenizer_config.json", added_tokens_decoder=decoder)


REFUSED: dict[str, tuple[Change, str, str]] = {
    "an answer ends in plain text": (
        lambda folder: edit_json(folder, "tokenizer_config.json", chat_template=PLAIN_END),
        "stop-complete",
        "which is not a token to stop at",
    ),
    "no end is named": (missing_end, "stop-ids", "a chat would never stop"),
    "the end has no row": (names(400, 400), "stop-ids", "the EOS id 400 is outside the vocabulary"),
    "a vocabulary beyond the embedding": (more_tokens(286, 320), "ids-fit", "<|extra_320|>"),
    "other ids by the config": (other_tokenizer, "tokenizer-ids", "probe texts give other ids than the source's"),
    "a broken tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text('{"version": "1.0"}'),
        "tokenizer-ids",
        "cannot be loaded",
    ),
    "a class that the file does not fit": (
        lambda folder: edit_json(folder, "tokenizer_config.json", tokenizer_class="BertTokenizer"),
        "tokenizer-ids",
        "cannot read the probe texts",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_talk_nonsense_or_without_end_is_refused(tmp_path: Path, case: str) -> None:
    change, check, words = REFUSED[case]
    source = make_model(tmp_path / "m")
    change(source)
    made = gate(source, code=1)
    assert check in made.failed()
    assert words in made.message(check)


def test_a_template_without_an_end_after_the_answer_is_told(tmp_path: Path) -> None:
    made = gate(make_model(tmp_path / "m", chat_template=NO_END))
    assert made.status()["stop-complete"] == "warn"


@pytest.mark.parametrize("opening", ["", "Below is a task. Do it.\n\n"])
def test_turns_without_a_token_between_them_are_the_sources_own_way(tmp_path: Path, opening: str) -> None:
    """As SOLAR and Alpaca have it: an answer ends by the end token that the files name, and by nothing else."""
    template = opening + MANNERS["solar"].template
    made = gate(make_model(tmp_path / "m", chat_template=template))
    assert made.status()["stop-complete"] == "warn"
    assert "which is not a token: as in the source, an answer ends" in made.message("stop-complete")
    assert ends(made.model()) == ({TURN_END},) * 3


def test_without_a_token_between_turns_and_without_an_end_a_model_is_refused(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", chat_template=MANNERS["solar"].template)
    missing_end(source)
    assert gate(source, code=1).failed() == ["stop-ids"]


def backend(folder: Path) -> None:
    """As transformers 5 writes it, with what a machine noted about itself."""
    edit_json(
        folder,
        "tokenizer_config.json",
        tokenizer_class="TokenizersBackend",
        backend="tokenizers",
        is_local=True,
        local_files_only=False,
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        additional_special_tokens=MISSING,
        added_tokens_decoder=MISSING,
    )
    (folder / "special_tokens_map.json").unlink()


def prefix_space(folder: Path) -> None:
    edit_json(folder, "tokenizer_config.json", tokenizer_class="LlamaTokenizer", add_prefix_space=True)


def split_words(folder: Path) -> None:
    """A pre-tokenizer that transformers 5 drops for this class, so the ids become others."""
    before = read_json(folder / "tokenizer.json")["pre_tokenizer"]
    split = {"type": "Split", "pattern": {"String": "oon"}, "behavior": "Isolated", "invert": False}
    edit_json(folder, "tokenizer.json", pre_tokenizer={"type": "Sequence", "pretokenizers": [split, before]})
    edit_json(folder, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")


FIXED: dict[str, tuple[Change, list[str]]] = {
    "TokenizersBackend": (
        backend,
        ["tokenizer_class PreTrainedTokenizerFast instead of TokenizersBackend", "additional_special_tokens"],
    ),
    "add_prefix_space without its model": (prefix_space, ["add_prefix_space removed", "tokenizer.model"]),
    "a class that gives other ids": (split_words, ["whose ids differ from tokenizer.json's"]),
}


@pytest.mark.parametrize("case", FIXED)
def test_a_tokenizer_for_some_clients_is_made_one_for_all(tmp_path: Path, case: str) -> None:
    change, words = FIXED[case]
    source = make_model(tmp_path / "m")
    change(source)
    made = gate(source)
    folder = made.model()
    assert made.status()["tokenizer-portable"] == "fixed"
    assert made.status()["tokenizer-ids"] == "pass"
    for word in words:
        assert word in made.message("tokenizer-portable")
    config = read_json(folder / "tokenizer_config.json")
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"extra_special_tokens", "is_local", "local_files_only", "backend"} & config.keys()
    assert "add_prefix_space" not in config
    ids_are_the_sources(source, folder)
    tokens = AutoTokenizer.from_pretrained(str(folder)).convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert tokens == [TURN_START, TURN_END]
