"""The table *Chat template* of what goes wrong: each row through the command line, with a model that really answers."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer  # noqa: TID251 -- the reader of a converted model

from conftest import once
from gate import Change, edit_json, gate
from models import ANSWER, answer_table, make_scripted
from pipeline import Ended, User, checks, read_json, run_snippet, write_recipe
from tiny_tokenizer import CHATML, TURN_START, write_json

SYSTEM, PROMPT = "Be a friend of the stars.", "What passes in front of the Sun?"
TURN = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
ASKS = "{{ '<|im_start|>assistant\\n' if add_generation_prompt }}"
# The user's turn ends in the same token as what asks for an answer elsewhere, so the scripted model answers.
STRICT = (
    "{{ raise_exception('System role not supported') if messages[0].role == 'system' }}"
    "{% for m in messages %}"
    "{{ raise_exception('Roles must alternate') if (m.role == 'user') != (loop.index0 is even) }}"
    + TURN
    + "{% endfor %}"
)
SILENT = "{% for m in messages if m.role != 'system' %}" + TURN + "{% endfor %}" + ASKS
TODAY = "{{ '<|im_start|>system\\nToday is ' + strftime_now('%d %b %Y') + '.<|im_end|>\\n' }}"
THINKING = "{{ '<think>\\n\\n</think>\\n\\n' if add_generation_prompt and enable_thinking is false }}"
MODERN = TODAY + "{% for m in messages %}" + TURN + "{% endfor %}" + ASKS + THINKING
CALLS = "{{ m.tool_calls | map(attribute='function') | list | tojson if m.tool_calls }}"
WITH_TOOLS = (
    "{{ '<|im_start|>system\\n' + tools | tojson + '<|im_end|>\\n' if tools }}"
    "{% for m in messages %}" + TURN.replace("{{", CALLS + "{{") + "{% endfor %}" + ASKS
)
OLDER = "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>\\n' }}{% endfor %}{{ 'assistant:\\n' }}"


@dataclass(frozen=True)
class Tried:
    """The model in `root`/m, and what commands left of it in `root`/work."""

    root: Path

    @property
    def variant(self) -> Path:
        return self.root / "work/m/4bit"

    @property
    def model(self) -> Path:
        return self.variant / "model"

    def run(self, *words: str, code: int = 0, more: dict[str, str] | None = None, **smoke: object) -> Ended:
        """Run a command with a recipe whose smoke test asks our question."""
        asked = {"system": SYSTEM, "prompt": PROMPT, "max_tokens": 16, **smoke}
        recipe = write_recipe(
            self.root / "m.yaml", source=str(self.root / "m"), smoke=asked, to=f"folder:{self.root / 'out' / 'model'}"
        )
        user = User(self.root / "home", more=more or {})
        return user.run(*words, "--recipe", recipe, "--work", self.root / "work", code=code)

    def copy(self, to: Path) -> Tried:
        """One that a test may go on with."""
        shutil.copytree(self.root, to)
        return Tried(to)

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.variant / "smoke.json")["result"]
        return found

    def text(self, dialogue: str) -> str:
        """What the converted model's users get of a dialogue."""
        return str(self.result["dialogues"][dialogue]["text"])

    def says(self, check: str, stage: str = "smoke") -> tuple[str, str]:
        found = read_json(self.variant / f"{stage}.json")["checks"]
        return next((one["status"], one["message"]) for one in found if one["id"] == check)

    def shown(self) -> tuple[Any, dict[str, Any]]:
        """Messages and options of the snippet on the card, which is run with a stand-in for mlx-lm."""
        asked: dict[str, Any] = {}

        def template(messages: object, *, add_generation_prompt: bool, **options: Any) -> str:
            asked.update(messages=messages, options=options, prompt=add_generation_prompt)
            return ""

        tokenizer = SimpleNamespace(apply_chat_template=template)
        fake = SimpleNamespace(load=lambda name: (None, tokenizer), generate=lambda *_, **__: "")
        code = re.search(r"^```python\n(.*?)^```$", (self.model / "README.md").read_text(), re.DOTALL | re.MULTILINE)
        assert code
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "mlx_lm", fake)
            exec(code[1], {})  # noqa: S102  our own card
        assert asked.pop("prompt") is True
        return asked["messages"], asked["options"]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def scripted(folder: Path, template: str | None) -> Path:
    return make_scripted(folder, answer_table(), chat_template=template)


def answers_as_the_card_shows(tried: Tried) -> None:
    """The model gave its answer to just what a reader of the card gives it."""
    exchange = tried.result["exchange"]
    assert tried.shown() == (exchange["messages"], tried.result["options"])
    assert (exchange["answer"], exchange["stop"]) == (ANSWER, "stop")


def carded(folder: Path, template: str) -> Tried:
    """A model with this template, made once, smoked, and with its card."""

    def make(root: Path) -> None:
        scripted(root / "m", template)
        Tried(root).run("run", "--until", "smoke")
        Tried(root).run("card")

    return Tried(once(folder, make))


# No system role, strict turns, no prompt for an answer: one template has all three.


@pytest.fixture(scope="session")
def strict(shared: Path) -> Tried:
    """Only to be read; with its card."""

    return carded(shared / "template-strict", STRICT)


def test_a_system_role_that_is_refused_is_folded(strict: Tried) -> None:
    status, message = strict.says("system-role")
    assert status == "warn"
    assert message.startswith("no system role (System role not supported); the system prompt is folded into the first")
    assert strict.result["system"] == "first-user"
    assert strict.result["exchange"]["messages"] == [turn("user", f"{SYSTEM}\n\n{PROMPT}")]
    assert strict.result["exchange"]["rendered"] == f"<|im_start|>user\n{SYSTEM}\n\n{PROMPT}<|im_end|>\n"
    assert strict.result["dialogues"]["system+user"] == {
        "text": None,
        "error": "System role not supported",
        "tokens": 0,
        "same": True,
    }


def test_the_snippet_folds_it_alike_and_runs(strict: Tried) -> None:
    answers_as_the_card_shows(strict)
    assert "has no system role" in (strict.model / "README.md").read_text()
    assert ANSWER in run_snippet(strict.model / "README.md", User(strict.root / "home"))


def test_turns_that_alternate_strictly_are_told(strict: Tried) -> None:
    assert strict.says("turns") == (
        "pass",
        "turns alternate strictly: two user turns in a row and an assistant's turn first are refused",
    )
    assert strict.result["capabilities"]["two_users"] == "refused"


def test_a_prompt_for_an_answer_that_changes_nothing_is_told(strict: Tried) -> None:
    status, message = strict.says("generation-prompt")
    assert (status, message[:37]) == ("warn", "add_generation_prompt changes nothing")
    assert strict.text("user") == strict.text("no generation prompt")


def test_a_user_turn_of_its_own_is_refused_where_two_are(strict: Tried, tmp_path: Path) -> None:
    tried = strict.copy(tmp_path / "t")
    ended = tried.run("smoke", code=1, fold="own-turn")
    status, message = tried.says("system-role")
    assert status == "fail"
    assert message.endswith("the template rejects two user turns in a row")
    assert "Next: Set smoke.fold to first-user in the recipe." in ended.text


# The system text vanishes


@pytest.fixture(scope="session")
def silent(shared: Path) -> Tried:
    """Only to be read; with its card."""

    return carded(shared / "template-silent", SILENT)


def test_a_system_text_that_vanishes_is_folded(silent: Tried) -> None:
    status, message = silent.says("system-role")
    assert status == "warn"
    assert "(the system prompt is lost)" in message
    assert silent.text("system+user") == silent.text("user")
    assert silent.result["exchange"]["messages"] == [turn("user", f"{SYSTEM}\n\n{PROMPT}")]
    answers_as_the_card_shows(silent)


def test_it_may_have_a_user_turn_of_its_own(silent: Tried, tmp_path: Path) -> None:
    tried = silent.copy(tmp_path / "t")
    tried.run("smoke", fold="own-turn")
    tried.run("card", fold="own-turn")
    status, message = tried.says("system-role")
    assert status == "warn"
    assert "the system prompt becomes a user turn of its own" in message
    assert tried.result["exchange"]["messages"] == [turn("user", SYSTEM), turn("user", PROMPT)]
    answers_as_the_card_shows(tried)


# Several places, several names, a switch, tools, a date: one source has all of them.


def modern(root: Path) -> Path:
    source = scripted(root / "m", None)
    (source / "additional_chat_templates").mkdir()
    (source / "chat_template.jinja").write_text(MODERN)
    (source / "additional_chat_templates/tool_use.jinja").write_text(WITH_TOOLS)
    return edit_json(source, "tokenizer_config.json", chat_template=OLDER)


@pytest.fixture(scope="session")
def rich(shared: Path) -> Tried:
    """Only to be read; smoked where the day is the latest on earth."""

    def make(root: Path) -> None:
        modern(root)
        Tried(root).run("run", "--until", "smoke", more={"TZ": "Etc/GMT-14"})

    return Tried(once(shared / "template-rich", make))


@pytest.fixture(scope="session")
def thinking(shared: Path, rich: Tried) -> Tried:
    """The same smoked once more, thinking, where the day is the earliest on earth; with its card."""

    def make(root: Path) -> None:
        tried = rich.copy(root)
        tried.run("smoke", more={"TZ": "Etc/GMT+12"}, thinking=True)
        tried.run("card", thinking=True)

    return Tried(once(shared / "template-thinking", make))


def test_of_two_places_that_disagree_the_winner_is_named(rich: Tried) -> None:
    assert rich.says("chat-template", "inspect") == (
        "warn",
        "the chat templates in chat_template.jinja and tokenizer_config.json differ; that in chat_template.jinja wins",
    )
    assert rich.says("tokenizer-portable", "convert")[0] == "fixed"
    assert rich.says("template-same")[0] == "pass"
    assert rich.text("several turns").startswith("<|im_start|>system\nToday is")


def test_the_output_has_the_winner_in_every_place(rich: Tried) -> None:
    said = {"default": MODERN, "tool_use": WITH_TOOLS}
    assert (rich.model / "chat_template.jinja").read_text() == MODERN
    assert (rich.model / "additional_chat_templates/tool_use.jinja").read_text() == WITH_TOOLS
    config = read_json(rich.model / "tokenizer_config.json")
    assert {entry["name"]: entry["template"] for entry in config["chat_template"]} == said
    assert AutoTokenizer.from_pretrained(str(rich.model)).chat_template == said


def test_tools_take_the_template_of_their_name(rich: Tried) -> None:
    text = rich.text("tools")
    assert "Today is" not in text
    assert text.startswith('<|im_start|>system\n[{"type": "function"')


def test_both_forms_of_arguments_are_told(rich: Tried) -> None:
    status, message = rich.says("tools")
    told = "tools are listed; arguments as a mapping are shown; arguments as a string are escaped; results are shown"
    assert (status, message) == ("warn", f"{told}; a call whose message has no text (null) is refused")
    assert '"arguments": {"date": "2026-08-12"' in rich.text("call, mapping")
    assert r'"arguments": "{\"date\": \"2026-08-12\"' in rich.text("call, string")
    assert rich.result["capabilities"]["tool_calls"] == {"mapping": "shown", "string": "escaped"}


def test_a_switch_is_tried_unset_on_and_off(rich: Tried) -> None:
    """mlx-lm sets it by itself: its tokenizer has no tokens to think with."""
    status, message = rich.says("thinking")
    assert status == "warn"
    assert message.startswith("enable_thinking switches thinking; unset it is on in transformers, and off in mlx-lm")
    closed = "<think>\n\n</think>\n\n"
    assert not rich.text("thinking on").endswith(closed)
    assert rich.text("thinking off") == rich.text("thinking on") + closed
    assert rich.text("user") == rich.text("thinking off")
    assert rich.result["dialogues"]["user"]["same"]


def test_the_report_says_what_the_smoke_test_used(rich: Tried, thinking: Tried) -> None:
    assert (rich.result["options"], thinking.result["options"]) == (
        {"enable_thinking": False},
        {"enable_thinking": True},
    )
    assert rich.result["exchange"]["rendered"].endswith("assistant\n<think>\n\n</think>\n\n")
    assert thinking.result["exchange"]["rendered"].endswith("assistant\n")
    answers_as_the_card_shows(thinking)
    assert "enable_thinking=True)" in (thinking.model / "README.md").read_text()


def test_a_prompt_with_a_date_is_the_same_on_another_day(rich: Tried, thinking: Tried) -> None:
    assert rich.says("date") == ("pass", "the prompt contains the date; it was tested with a fixed clock")
    assert rich.text("user").startswith("<|im_start|>system\nToday is 01 Mar 2026.<|im_end|>\n")
    assert rich.result["dialogues"] == thinking.result["dialogues"]
    assert rich.result["capabilities"] == thinking.result["capabilities"]
    first, then = (read_json(tried.variant / "smoke.json")["checks"] for tried in (rich, thinking))
    # The prompt of a thinking model is shorter.
    assert [one for one in first if one["id"] != "long-prompt"] == [one for one in then if one["id"] != "long-prompt"]


# In chat_template.json alone


@pytest.fixture(scope="session")
def legacy(shared: Path) -> Tried:
    """Only to be read; converted."""

    def make(root: Path) -> None:
        write_json(scripted(root / "m", None) / "chat_template.json", {"chat_template": CHATML})
        Tried(root).run("convert")

    return Tried(once(shared / "template-legacy", make))


def test_a_template_that_tokenizers_do_not_read_goes_where_they_do(legacy: Tried) -> None:
    assert legacy.says("chat-template", "inspect") == ("pass", "the chat template stands in chat_template.json")
    status, message = legacy.says("tokenizer-portable", "convert")
    assert status == "fixed"
    assert message.startswith("the chat template stood in chat_template.json only, which tokenizers do not read")
    assert (legacy.model / "chat_template.jinja").read_text() == CHATML
    assert read_json(legacy.model / "tokenizer_config.json")["chat_template"] == CHATML
    assert (legacy.model / "chat_template.json").exists()
    made = AutoTokenizer.from_pretrained(str(legacy.model))
    assert made.apply_chat_template([turn("user", "Hi")])["input_ids"][0] == TURN_START


def test_the_model_answers_with_it(legacy: Tried, tmp_path: Path) -> None:
    tried = legacy.copy(tmp_path / "t")
    tried.run("smoke")
    assert tried.says("template-same")[0] == "pass"


# Refused before anything is converted


def template(text: str | None) -> Change:
    return lambda folder: scripted(folder, text)


def named(folder: Path) -> None:
    names = [{"name": name, "template": CHATML} for name in ("rag", "tool_use")]
    edit_json(scripted(folder, None), "tokenizer_config.json", chat_template=names)


def hidden(folder: Path) -> None:
    (scripted(folder, CHATML) / "chat_template.jinja").write_text("\n")


LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLES = "{% set n = namespace(s='a' * 9999) %}{% for _ in range(17) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}"
REFUSED: dict[str, tuple[str, Change, str, str]] = {
    "a chat model without a template": (
        "m-Instruct",
        template(None),
        "chat-template",
        "there is no chat template, and its name says 'Instruct'",
    ),
    "no default": ("m", named, "chat-template", "of the chat templates rag, tool_use none is the default"),
    "a loop without end": ("m", template(LOOPS + CHATML), "template-safe", "it did not end within 8 s"),
    "a gigabyte": ("m", template(DOUBLES + CHATML), "template-safe", "not safe to render: it "),
    "a gigabyte at once": (
        "m",
        template("{{ 'a' * 10 ** 9 }}"),
        "template-safe",
        "makes more than 2,000,000 characters",
    ),
    "an attribute that the sandbox forbids": (
        "m",
        template("{{ ''.__class__.__mro__ }}" + CHATML),
        "template-safe",
        "'__class__' of 'str' object is unsafe",
    ),
    "a template that writes nothing": (
        "m",
        template("{# " + CHATML + " #}\n"),
        "chat-template",
        "every dialogue becomes an empty prompt",
    ),
    "an empty file in front of a good template": (
        "m",
        hidden,
        "chat-template",
        "chat_template.jinja is empty, and hides the template of tokenizer_config.json",
    ),
    "a call of itself": (
        "m",
        template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        "template-safe",
        "calls itself without end",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_within_seconds(tmp_path: Path, case: str) -> None:
    name, change, check, words = REFUSED[case]
    change(tmp_path / name)
    made = gate(tmp_path / name, "--until", "smoke", command="run", code=1)
    assert made.failed() == [check]
    assert words in made.message(check)
    assert [path.name for path in (made.work / "4bit").glob("*.json")] == ["inspect.json"]
    (seconds,) = re.findall(r"\((\d+\.\d) s\)", made.text)
    assert float(seconds) < 10


def test_a_template_that_refuses_every_question_is_refused(tmp_path: Path) -> None:
    scripted(tmp_path / "m", "{{ raise_exception('no') }}" + CHATML)
    tried = Tried(tmp_path)
    tried.run("run", "--until", "smoke", code=1)
    assert tried.says("template-renders") == ("fail", "the chat template cannot render the dialogue 'user': no")


# Told, and refused in the dialogue that it concerns

PARTS_ONLY = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% for part in m.content %}{{ part.text }}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}" + ASKS
)
CALLS_APPENDED = (
    "{% set asked = [] %}{{ tools | tojson if tools }}{% for m in messages %}"
    "{% for call in m.tool_calls or [] %}{% set _ = asked.append(call.id) %}{% endfor %}" + TURN + "{% endfor %}" + ASKS
)


def test_plain_texts_that_vanish_are_refused(tmp_path: Path) -> None:
    scripted(tmp_path / "m", PARTS_ONLY)
    tried = Tried(tmp_path)
    tried.run("run", "--until", "smoke", code=1)
    status, message = tried.says("texts-once")
    assert status == "fail"
    assert message.startswith(
        "in the dialogue 'user' the text 'What is an eclipse?' vanishes, and the model never sees"
    )
    assert message.endswith("; it renders only multi-part content, and text clients send plain strings")


def test_a_list_that_is_changed_refuses_the_calls_and_not_the_model(tmp_path: Path) -> None:
    scripted(tmp_path / "m", CALLS_APPENDED)
    tried = Tried(tmp_path)
    tried.run("run", "--until", "smoke")
    assert tried.says("template-safe", "inspect")[0] == "pass"
    assert tried.says("template-same")[0] == "pass"
    status, message = tried.says("tools")
    told = (
        "tools are listed; arguments as a mapping are refused; arguments as a string are refused; results are refused"
    )
    assert (status, message.partition("; calls are refused: ")[0]) == ("warn", told)
    assert message.endswith("SecurityError: access to attribute 'append' of 'list' object is unsafe.")
    assert "append" in tried.result["dialogues"]["two calls, mapping"]["error"]


def test_a_byte_order_mark_is_told_before_anything_is_converted(tmp_path: Path) -> None:
    source = scripted(tmp_path / "m", None)
    (source / "chat_template.jinja").write_text(CHATML, encoding="utf-8-sig")
    tried = Tried(tmp_path)
    tried.run("run", "--until", "smoke")
    assert tried.says("chat-template", "inspect") == (
        "warn",
        "the template starts with a byte order mark: default",
    )
    assert tried.says("byte-order-mark")[0] == "warn"
    assert tried.says("template-same")[0] == "pass"


def test_a_switch_of_another_name_is_set_as_the_recipe_asks(tmp_path: Path) -> None:
    scripted(tmp_path / "m", CHATML + "{{ '<think>\n' if thinking }}")
    tried = Tried(tmp_path)
    tried.run("run", "--until", "smoke")
    assert tried.says("thinking") == ("pass", "thinking switches thinking: set to true it changes the prompt")
    assert tried.result["options"] == {"thinking": False}
    assert tried.result["dialogues"]["thinking=true"]["same"]
    tried.run("card")
    assert "thinking=False)" in (tried.model / "README.md").read_text()


def test_a_warning_of_every_row_publishes_all_the_same(strict: Tried, silent: Tried, rich: Tried) -> None:
    for tried in (strict, silent, rich):
        assert "fail" not in checks(tried.variant, "smoke").values()
        assert read_json(tried.variant / "smoke.json")["verdict"] == "pass"
