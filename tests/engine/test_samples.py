"""Samples of a calibration text: of which documents, how many, in which order, by which template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer  # noqa: TID251 -- what the engine hands over
from tokenizers import processors

from mlx_publish.engine.passages import SHARES, drawn, samples
from mlx_publish.errors import BadInput
from mlx_publish.evidence.sensitivities import CalibrationOrder
from mlx_publish.source.calibration import package_texts
from models import make_model
from tiny_tokenizer import CHATML, SPECIAL, TURN_START, build_tokenizer

# Each byte of these letters is a token.
KINDS = {"prose": "p", "code": "c", "dialogue": "d", "scripts": "s"}
WITHOUT_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
SYSTEM = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
Ids = tuple[int, ...]


def made(folder: Path, template: str | None = CHATML) -> tuple[Path, Any]:
    """A folder, and its tokenizer as mlx-lm loads it."""
    make_model(folder, chat_template=template)
    return folder, load_tokenizer(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return made(tmp_path_factory.mktemp("samples") / "m")


def order(texts: dict[str, Any], samples: int = 10, length: int = 32, seed: int = 0) -> CalibrationOrder:
    return CalibrationOrder(texts, "", samples, length, seed, "here.txt")


def plain(documents: int = 10, size: int = 100) -> dict[str, Any]:
    """Documents of each kind that are nothing but its letter, behind a letter of their own."""
    alphabet = "ABEFGHIJKLMNOPQRSTUVWXYZabefghij"
    return {kind: [f"{alphabet[n]}{sign * (size - 1)}" for n in range(documents)] for kind, sign in KINDS.items()}


def decoded(found: Sequence[Ids]) -> list[str]:
    tokenizer = build_tokenizer()
    return [tokenizer.decode(list(ids), skip_special_tokens=False) for ids in found]


def kinds_of(found: Sequence[Ids]) -> list[str]:
    signs = {sign: kind for kind, sign in KINDS.items()}
    return [signs[text[-1]] for text in decoded(found)]


def test_there_are_as_many_as_asked_for_of_the_length_asked_for(tiny: tuple[Path, Any]) -> None:
    found = samples(*tiny, order(plain(), 50, 32))
    assert len(found) == 50
    assert {len(ids) for ids in found} == {32}


def test_the_same_seed_draws_the_same_samples_and_another_one_others(tiny: tuple[Path, Any]) -> None:
    texts = package_texts()
    first = samples(*tiny, order(texts, 40, 64))
    assert first == samples(*tiny, order(texts, 40, 64))
    other = samples(*tiny, order(texts, 40, 64, seed=1))
    assert len(set(first) & set(other)) < 20


def test_kinds_come_in_their_shares_in_each_beginning_too(tiny: tuple[Path, Any]) -> None:
    found = kinds_of(samples(*tiny, order(plain(), 50, 32)))
    assert Counter(found) == {kind: 50 * share for kind, share in SHARES.items()}
    assert Counter(found[:10]) == {kind: 10 * share for kind, share in SHARES.items()}


def test_what_a_kind_lacks_others_fill(tiny: tuple[Path, Any]) -> None:
    texts = {**plain(), "prose": ["p" * 40]}
    assert Counter(kinds_of(samples(*tiny, order(texts, 50, 32)))) == {
        "prose": 1,
        "code": 17,
        "dialogue": 16,
        "scripts": 16,
    }


def test_there_are_fewer_where_the_text_has_no_more(tiny: tuple[Path, Any]) -> None:
    """100 tokens have three samples of 32; the four that are left over are no document that is too short."""
    assert len(samples(*tiny, order(plain(documents=2), 50, 32))) == 2 * 3 * len(KINDS)


def test_no_sample_has_text_of_two_documents_that_are_long_enough(tiny: tuple[Path, Any]) -> None:
    names = [{sign for sign in text if sign not in "pcds"} for text in decoded(samples(*tiny, order(plain(), 99, 32)))]
    assert max(map(len, names)) == 1


def test_nothing_is_in_two_samples(tiny: tuple[Path, Any]) -> None:
    text = "".join(chr(33 + n % 90) + chr(33 + n // 90) for n in range(900))
    found = decoded(samples(*tiny, order({"text": [text]}, 99, 32)))
    assert len(found) == len(text) // 32
    assert sorted(found) == sorted(text[start : start + 32] for start in range(0, len(text) - 31, 32))


def test_each_sample_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    """Models that were trained with BOS in front of all texts compute nonsense without it."""
    tokenizer = build_tokenizer()
    begin = SPECIAL[TURN_START]
    tokenizer.post_processor = processors.TemplateProcessing(f"{begin} $A", None, [(begin, TURN_START)])
    make_model(tmp_path / "m", chat_template=CHATML, tokenizer=tokenizer)
    text = "".join(chr(33 + n % 90) for n in range(310))
    texts = {"prose": [text, "a" * 20, "b" * 20], "dialogue": [[{"role": "user", "content": text}]]}
    found = samples(tmp_path / "m", load_tokenizer(tmp_path / "m"), order(texts, 99, 32))
    assert {len(ids) for ids in found} == {32}
    assert {ids[0] for ids in found} == {TURN_START}
    assert not [ids for ids in found if ids[1] == TURN_START]
    joined = tokenizer.decode([id_ for ids in found for id_ in ids])
    assert all(piece in joined for piece in (text[:31], text[31:62], text[279:310]))
    assert [ids.count(TURN_START) for ids in found if "a" * 5 in tokenizer.decode(list(ids))].count(2) == 1


def test_documents_that_are_too_short_are_joined(tiny: tuple[Path, Any]) -> None:
    (sample,) = decoded(samples(*tiny, order({"text": ["a" * 15, "b" * 15, "e" * 15]}, 10, 32)))
    assert {sign: sample.count(sign) for sign in sorted(set(sample))} in (
        {"a": 15, "b": 15, "e": 2},
        {"a": 15, "b": 2, "e": 15},
        {"a": 2, "b": 15, "e": 15},
    )


def test_dialogues_are_read_by_the_template_among_documents_too(tiny: tuple[Path, Any]) -> None:
    dialogue = [*SYSTEM, {"role": "assistant", "content": "I."}]
    rendered = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nI.<|im_end|>\n"
    length = len(build_tokenizer().encode(rendered).ids)
    for texts in ({"dialogue": [dialogue]}, {"text": [dialogue]}):
        assert decoded(samples(*tiny, order(texts, 1, length))) == [rendered]


def test_a_template_without_a_system_role_gets_the_system_prompt_as_the_comparison_of_recipes_folds_it(
    tmp_path: Path,
) -> None:
    rendered = "<|im_start|>user\nBe brief.\n\nWho?<|im_end|>\n"
    length = len(build_tokenizer().encode(rendered).ids)
    found = samples(*made(tmp_path / "m", WITHOUT_SYSTEM), order({"dialogue": [SYSTEM]}, 1, length))
    assert decoded(found) == [rendered]


def test_without_a_template_dialogues_are_plain_text(tmp_path: Path) -> None:
    found = samples(*made(tmp_path / "m", None), order({"dialogue": [SYSTEM]}, 1, 15))
    assert decoded(found) == ["Be brief.\n\nWho?"]


def test_what_judges_shares_no_document_with_what_is_learned_from(tiny: tuple[Path, Any]) -> None:
    found = drawn(*tiny, order(plain(), 99, 32), apart=12)
    assert len(found.apart) == 12
    assert Counter(kinds_of(found.apart)) == {"prose": 5, "code": 3, "dialogue": 2, "scripts": 2}
    # The letter of its own is in the first sample of a document; the rest of it is in two others.
    begun = [text[0] + text[-1] for text in decoded(found.apart) if text[0] not in "pcds"]
    assert begun
    assert not {text[0] + text[-1] for text in decoded(found.samples)} & set(begun)
    # Five documents of twelve windows, or a few more, are lost to learning.
    assert len(found.samples) + len(found.apart) >= 4 * 10 * 3 - 12


def test_at_most_a_quarter_judges(tiny: tuple[Path, Any]) -> None:
    found = drawn(*tiny, order(plain(documents=2), 99, 32), apart=50)
    assert len(found.apart) == 6
    assert found.samples


def test_one_document_cannot_be_divided(tiny: tuple[Path, Any]) -> None:
    found = drawn(*tiny, order({"text": ["t" * 90]}, 99, 32), apart=8)
    assert (len(found.samples), len(found.apart)) == (2, 0)


def test_a_large_file_is_read_as_far_as_needed(tiny: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted(list[str]):
        read: set[int] = set()  # noqa: RUF012

        def __getitem__(self, number: Any) -> Any:
            self.read.add(number)
            return super().__getitem__(number)

    texts = Counted(["t" * 320] * 3000)
    assert len(samples(*tiny, order({"text": texts}, 20, 32))) == 20
    assert len(texts.read) == 64


def test_a_text_without_one_sample_is_an_error_with_the_numbers(tiny: tuple[Path, Any]) -> None:
    with pytest.raises(BadInput) as caught:
        samples(*tiny, order({"text": ["a" * 15, "b" * 16]}, 10, 32))
    assert str(caught.value) == "here.txt: the calibration text has 31 tokens, but a sample takes 32"
    assert "smaller length" in caught.value.remedy


@pytest.mark.slow
def test_the_package_has_what_every_method_asks_for_by_default(source: Path) -> None:
    from mlx_publish.recipes.sections import CalibrationText  # noqa: PLC0415

    tokenizer = load_tokenizer(source)
    for method in ("plan", "awq", "gptq", "dwq"):
        amount = CalibrationText().amount(method)
        found = drawn(source, tokenizer, order(package_texts(), amount.samples, amount.length), apart=16)
        assert (len(found.samples), len(found.apart)) == (amount.samples, 16), method
