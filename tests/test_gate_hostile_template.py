"""Templates that are tame where they are tried and hostile in use, through the command line: refused, in seconds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gate import edit_json, gate
from mlx_publish.chat.child import LIMITS
from models import answer_table, make_model, make_scripted
from pipeline import User, read_json
from tiny_tokenizer import CHATML

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
GIGABYTES = "{{ 'x'.ljust(3 * 10 ** 9) }}"
ON_OTHER_DAYS = "{% if strftime_now('%Y-%m-%d') not in ['2026-03-01', '2027-11-23'] %}HARM{% endif %}"
ON_A_WORD = "{% if 'chatbot' in messages[0].content %}HARM{% endif %}"
ON_A_LONG_TEXT = "{% if messages[-1].content | length > 5000 %}HARM{% endif %}"
# Words that stand in no constant, so only whoever asks with them meets it.
ON_OUR_QUESTION = "{% if 'rain' ~ 'bow' in messages[-1].content %}HARM{% endif %}"
IN_OUR_COMPARISON = "{% if not add_generation_prompt and 'Lis' ~ 'bon' in messages[0].content %}HARM{% endif %}"
TIMES = "it did not end within 3 s"
MEMORY = "it took more than 256 MB of memory"
SMALL = ("--bits", "8", "--group-size", "32", "--until", "smoke")

AT_ONCE = {
    "a loop on all days but ours": (ON_OTHER_DAYS, LOOP, TIMES),
    "gigabytes on all days but ours": (ON_OTHER_DAYS, GIGABYTES, MEMORY),
    "a loop behind a word": (ON_A_WORD, LOOP, TIMES),
    "gigabytes behind a word": (ON_A_WORD, GIGABYTES, MEMORY),
    "gigabytes behind a long text": (ON_A_LONG_TEXT, GIGABYTES, MEMORY),
}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates have 3 seconds instead of 8 in the tests' own process."""
    monkeypatch.setitem(vars(LIMITS), "seconds", 3.0)


def seconds(text: str) -> float:
    (found,) = re.findall(r"\((\d+\.\d) s\)", text)
    return float(found)


@pytest.mark.parametrize(
    ("case", "command"), [*((case, "run") for case in AT_ONCE), ("gigabytes behind a word", "publish")]
)
def test_what_waits_for_a_day_or_a_text_is_refused_before_anything_is_converted(
    tmp_path: Path, case: str, command: str, request: pytest.FixtureRequest
) -> None:
    when, harm, words = AT_ONCE[case]
    if words == TIMES:
        request.getfixturevalue("hurried")
    make_scripted(tmp_path / "m", answer_table(), chat_template=when.replace("HARM", harm) + CHATML)
    flags: tuple[object, ...] = SMALL if command == "run" else ("--to", f"folder:{tmp_path / 'out'}", *SMALL[:4])
    made = gate(tmp_path / "m", *flags, command=command, code=1)
    assert made.failed("8bit-gs32") == ["template-safe"]
    assert words in made.message("template-safe", "8bit-gs32")
    assert seconds(made.text) < 30
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("harm", "words"), [(LOOP, "it did not end within 8 s"), (GIGABYTES, MEMORY)])
def test_what_only_the_engine_asks_for_is_a_refusal_there_and_neither_a_bug_nor_a_fault_of_the_machine(
    tmp_path: Path, harm: str, words: str
) -> None:
    source = make_scripted(tmp_path / "m", answer_table(), chat_template=ON_OUR_QUESTION.replace("HARM", harm) + CHATML)
    made = gate(source, *SMALL, command="run", code=1)
    assert made.failed("8bit-gs32") == ["template-safe"]
    assert f"{words} (question 'colours')" in made.message("template-safe", "8bit-gs32")


def test_what_only_the_comparison_reads_is_a_refusal_there(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", chat_template=IN_OUR_COMPARISON.replace("HARM", GIGABYTES) + CHATML)
    made = gate(source, *SMALL[:4], "--until", "fidelity", command="run", code=1)
    assert made.failed("8bit-gs32") == ["template-safe"]
    assert re.search(r"256 MB of memory \(dialogue \d+ of the comparison\)", made.message("template-safe", "8bit-gs32"))


def test_a_question_that_the_template_refuses_is_a_refusal(tmp_path: Path) -> None:
    harm = ON_OUR_QUESTION.replace("HARM", "{{ raise_exception('not that') }}")
    source = make_scripted(tmp_path / "m", answer_table(), chat_template=harm + CHATML)
    made = gate(source, *SMALL, command="run", code=1)
    assert made.failed("8bit-gs32") == ["template-renders"]
    assert made.message("template-renders", "8bit-gs32").endswith("the question 'colours': not that")


@pytest.mark.parametrize(
    "template", [CHATML + "{{ '\\ud800' }}", ON_OUR_QUESTION.replace("HARM", "{{ '\\ud800' }}") + CHATML]
)
def test_half_of_a_character_is_a_refusal(tmp_path: Path, template: str) -> None:
    source = make_scripted(tmp_path / "m", answer_table(), chat_template=template)
    made = gate(source, *SMALL, command="run", code=1)
    assert made.failed("8bit-gs32") == ["template-renders"]
    assert "half a character" in made.message("template-renders", "8bit-gs32")


@pytest.mark.parametrize("where", ["chat_template.jinja", "tokenizer_config.json"])
def test_megabytes_of_a_template_are_refused_at_once(tmp_path: Path, where: str) -> None:
    # A text of tokenizer_config.json may have 8 MiB.
    large = "{{ 1 }}" * (1_000_000 if where.endswith("json") else 4_000_000)
    source = make_model(tmp_path / "m", chat_template=large if where.endswith("json") else CHATML)
    if not where.endswith("json"):
        (source / where).write_text(large)
    made = gate(source, *SMALL, command="run", code=1)
    assert made.failed("8bit-gs32") == ["template-safe"]
    said = f"{where}: the chat template has {len(large):,}"[:-3]
    assert made.message("template-safe", "8bit-gs32").startswith(said)
    assert "at most 1,048,576 are read" in made.message("template-safe", "8bit-gs32")
    assert seconds(made.text) < 5


@pytest.mark.parametrize(
    "template",
    [
        "{% if 1 %}" * 10_000 + "{% endif %}" * 10_000,
        "{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}",
        "{{ " + "-" * 100_000 + "1 }}",
        "{{ " + "[" * 50_000 + "]" * 50_000 + " }}",
        "{{ a" + ".b" * 100_000 + " }}",
        "{{ a" + "|e" * 100_000 + " }}",
        "{{ 1" + "+1" * 100_000 + " }}",
        "{% for a in b %}" * 3_000 + "{% endfor %}" * 3_000,
    ],
    ids=["ifs", "brackets", "signs", "lists", "attributes", "filters", "sums", "loops"],
)
def test_what_takes_long_to_parse_is_refused_in_seconds(tmp_path: Path, template: str) -> None:
    source = make_model(tmp_path / "m", chat_template=CHATML + template)
    user = User(tmp_path / "home", more={"COLUMNS": "200"})
    ended = user.run("smoke", "--template-only", "--source", source, code=1)
    assert "not safe to render" in ended.text or "cannot be rendered" in ended.text or "cannot render" in ended.text


def test_what_is_drawn_shows_in_no_report_and_changes_no_answer(tmp_path: Path) -> None:
    dated = "{{ strftime_now('%d %b %Y %H:%M') }}\n" + CHATML
    reports: list[dict[str, Any]] = []
    for run in ("one", "two"):
        source = make_scripted(tmp_path / run / "m", answer_table(), chat_template=dated)
        made = gate(source, *SMALL, command="run")
        found = {
            stage: read_json(made.work / "8bit-gs32" / f"{stage}.json") for stage in ("inspect", "convert", "smoke")
        }
        judged = [check for check in found["inspect"]["checks"] if check["id"] != "room"]
        unchained = {stage: {**report, "chain": None} for stage, report in found.items()}  # inspect's names the folder
        reports.append({**unchained, "inspect": (judged, found["inspect"]["result"])})
    assert reports[0] == reports[1]
    assert reports[0]["smoke"]["result"]["exchange"]["rendered"].startswith("01 Mar 2026 12:00")


def test_what_waits_for_what_transformers_alone_gives_is_a_refusal_in_the_smoke_test(tmp_path: Path) -> None:
    """A class brings special tokens that no file names."""
    harm = "{% if unk_token is defined and not add_generation_prompt %}HARM{% endif %}".replace("HARM", GIGABYTES)
    source = make_scripted(tmp_path / "m", answer_table(), chat_template=harm + CHATML)
    edit_json(source, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    work = tmp_path / "work"
    User(tmp_path / "home").run("run", "--source", source, "--work", work, *SMALL, code=1)
    found = read_json(work / "m" / "8bit-gs32" / "smoke.json")["checks"]
    assert [(check["id"], check["status"]) for check in found] == [("template-safe", "fail")]
    assert re.search(r"256 MB of memory \(dialogue '[\w ]+', source\)", found[0]["message"])
