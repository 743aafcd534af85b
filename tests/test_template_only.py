"""`smoke --template-only`: a look at any chat template, without MLX, without weights, without harm."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from chat_samples import MANNERS, write_chat_model
from hub import Hub
from models import make_model
from pipeline import ROOT, Ended, User
from tiny_tokenizer import CHATML, write_json

WIDE = 80
# Notes that a process began, and each of the modules that it tries to import and is not given.
SPY = """\
import os, sys

HEAVY = ("mlx", "mlx_lm", "transformers", "tokenizers", "torch", "numpy", "huggingface_hub")
NOTES = os.path.join(os.path.dirname(__file__), "notes")

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            note(name)
            raise ImportError(f"{name} is not for this test")

def note(text):
    with open(NOTES, "a") as file:
        file.write(text + chr(10))

note("began")
sys.meta_path.insert(0, Finder())
"""


def look_at(user: User, source: object, *words: object, code: int = 0) -> Ended:
    """Look at a source on a narrow terminal. What the console says fits it and commands neither it nor a runner."""
    user.more = {"COLUMNS": str(WIDE), **user.more}
    ended = user.run("smoke", "--source", source, "--template-only", *words, code=code)
    printed = ended.err if "--json" in words else ended.out
    # A backslash breaks what a runner would take for a command; it comes on top.
    assert [line for line in printed.splitlines() if len(line.replace("\\", "")) > WIDE] == []
    for line in (*ended.out.splitlines(), *ended.err.splitlines()):
        assert not line.lstrip().startswith("::")
        assert "##[" not in line
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", ended.out + ended.err)
    return ended


def report_of(user: User, source: object, *words: object, code: int = 0) -> dict[str, Any]:
    """The same as data; nothing else stands on standard output."""
    report: dict[str, Any] = json.loads(look_at(user, source, "--json", *words, code=code).out)
    assert report.keys() == {"verdict", "capabilities", "checks", "dialogues"}
    assert report["verdict"] == ("refused" if code else "pass")
    return report


def folder(path: Path, template: object = CHATML, **keys: object) -> Path:
    """A folder with tokenizer_config.json and nothing else."""
    path.mkdir(parents=True)
    write_json(path / "tokenizer_config.json", {"chat_template": template, **keys})
    return path


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in report["checks"]}


def failed(report: dict[str, Any]) -> list[str]:
    assert all(check["remedy"] for check in report["checks"] if check["status"] == "fail")
    return [check["id"] for check in report["checks"] if check["status"] == "fail"]


def named(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "template": CHATML} for name in names]


# What is good


def test_a_folder_with_tokenizer_config_json_alone(user: User, tmp_path: Path) -> None:
    ended = look_at(user, folder(tmp_path / "m", eos_token="<|im_end|>"), "--verbose")
    lines = [line.split(maxsplit=2) for line in ended.out.splitlines()]
    assert ended.out.startswith("smoke  m \N{MIDDLE DOT} chat template: pass\n")
    assert ["ok", "system-role", "the system text is a turn of its own"] in lines
    assert "tokenizer_config.json (default)" in ended.out
    assert r"'<|im_start|>assistant\n'" in ended.out
    assert "template-same" not in ended.out
    assert ended.err == ""


def test_without_a_list_of_tokens_none_is_called_unknown(user: User, tmp_path: Path) -> None:
    assert statuses(report_of(user, folder(tmp_path / "m")))["known-tokens"] == "skip"
    listed = folder(tmp_path / "listed", added_tokens_decoder={"1": {"content": "<|im_start|>"}})
    (check,) = (check for check in report_of(user, listed)["checks"] if check["id"] == "known-tokens")
    assert check["message"] == "<|im_end|> look like special tokens and are plain text to this tokenizer"


@pytest.mark.parametrize("manner", ["danube2", "gemma2", "llama3", "mistral"])
def test_whatever_is_said_fits_the_terminal(user: User, tmp_path: Path, manner: str) -> None:
    ended = look_at(user, write_chat_model(tmp_path / manner, manner))
    assert "  warn  " in ended.out


def test_json_has_all_that_is_known(user: User, tmp_path: Path) -> None:
    source = write_chat_model(tmp_path / "m", "qwen3")
    ended = look_at(user, source, "--json")
    report = json.loads(ended.out)
    assert report["capabilities"]["thinking"] == "switch"
    assert report["capabilities"]["tool_calls"] == {"mapping": "shown", "string": "shown"}
    assert report["dialogues"]["user"] == {
        "text": "<|im_start|>user\nWhat is an eclipse?<|im_end|>\n<|im_start|>assistant\n",
        "error": None,
        "kind": "text",
    }
    assert {"template-safe": "pass", "template-same": "skip", "thinking": "pass"}.items() <= statuses(report).items()
    # The console speaks on the other stream.
    assert "enable_thinking, on by default" in ended.err


def test_named_templates_are_looked_at_together(user: User, tmp_path: Path) -> None:
    both = [*named("default"), {"name": "tool_use", "template": "{{ tools | tojson }}" + CHATML}]
    source = folder(tmp_path / "m", both)
    assert "tokenizer_config.json (default, tool_use)" in look_at(user, source).text
    assert report_of(user, source)["capabilities"]["tools"] == "listed"


def test_other_engines(user: User, tmp_path: Path) -> None:
    source = folder(tmp_path / "m", MANNERS["llama3"].template, **MANNERS["llama3"].names)
    assert statuses(report_of(user, source))["other-engines"] == "skip"
    for engines in ("all", "minijinja, huggingface-jinja"):
        (check,) = (
            check for check in report_of(user, source, "--engines", engines)["checks"] if check["id"] == "other-engines"
        )
        assert check["status"] in ("skip", "pass", "warn")
        assert "no other engine was requested" not in check["message"]


# What is not

REFUSED: dict[str, tuple[object, str, str]] = {
    "no template": (None, "chat-template", "there is no chat template"),
    "no default": (named("rag", "tool_use"), "chat-template", "rag, tool_use none is the default"),
    "forbidden": ("{{ messages.__class__ }}", "template-safe", "not safe to render"),
    "a gigabyte": ("{{ 'a' * 10 ** 9 }}", "template-safe", "more than 2,000,000 characters"),
    "no question can be asked": ("{{ raise_exception('no') }}", "template-renders", "cannot render the dialogue"),
    "plain texts vanish": (
        "{% for m in messages %}<{{ m.role }}>{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
        "texts-once",
        "the text 'What is an eclipse?' vanishes",
    ),
    "nothing is written": ("{# note #}", "texts-once", "vanishes"),
    "broken": ("{% for", "template-renders", "line 1: TemplateSyntaxError"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_exit_1_and_names_the_next_step(user: User, tmp_path: Path, case: str) -> None:
    template, check, words = REFUSED[case]
    source = folder(tmp_path / "m", template)
    ended = look_at(user, source, code=1)
    assert "m \N{MIDDLE DOT} chat template: refused" in ended.out
    assert re.search(rf"^  FAIL  {check} ", ended.out, re.MULTILINE)
    assert words in ended.text
    assert "Next: " in ended.text
    assert failed(report_of(user, source, code=1)) == [check]


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_an_empty_file_that_hides_a_template_is_refused(user: User, tmp_path: Path, text: str) -> None:
    source = folder(tmp_path / "m")
    (source / "chat_template.jinja").write_text(text)
    report = report_of(user, source, code=1)
    assert failed(report) == ["chat-template"]
    assert "chat_template.jinja is empty" in report["checks"][0]["message"]


def test_a_byte_order_mark_is_told(user: User, tmp_path: Path) -> None:
    assert statuses(report_of(user, folder(tmp_path / "good")))["byte-order-mark"] == "pass"
    assert statuses(report_of(user, folder(tmp_path / "marked", "\ufeff" + CHATML)))["byte-order-mark"] == "warn"


def test_a_list_that_is_changed_refuses_the_dialogues_that_do_so(user: User, tmp_path: Path) -> None:
    report = report_of(user, write_chat_model(tmp_path / "m", "kimi_k2"))
    refused = {name for name, rendering in report["dialogues"].items() if rendering["text"] is None}
    assert refused == {name for name in report["dialogues"] if "call" in name or "round" in name or "result" in name}
    assert statuses(report)["tools"] == "warn"


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json"])
def test_a_broken_file_is_a_finding(user: User, tmp_path: Path, name: str) -> None:
    source = folder(tmp_path / "m")
    (source / name).write_text('{"a": ')
    report = report_of(user, source, code=1)
    (check,) = report["checks"]
    assert name in check["message"]
    assert (report["capabilities"], report["dialogues"]) == (None, {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--source", "./nowhere"), "--source: there is no folder ./nowhere"),
        (("--source", "/nowhere/at/all"), "--source: there is no folder /nowhere/at/all"),
        (("--source", "a/b/c"), "--source: a/b/c is neither a folder nor a repo"),
        (("--source", "nowhere"), "--source: nowhere is neither a folder nor a repo"),
        ((), "--source: --template-only needs a model"),
        (("--source", ".", "--engines", "minijinja,jinja9"), "--engines: there is no engine jinja9"),
    ],
)
def test_bad_input_is_exit_2(user: User, words: tuple[str, ...], message: str) -> None:
    ended = user.run("smoke", "--template-only", *words, code=2)
    assert f"error: {message}" in ended.err
    assert "next: " in ended.err
    assert ended.out == ""


# What it needs, and what it does not


def test_nothing_heavy_is_imported(user: User, tmp_path: Path) -> None:
    spy = tmp_path / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(SPY)
    user.more = {"PYTHONPATH": f"{spy}:{ROOT / 'scripts'}"}
    source = write_chat_model(tmp_path / "m", "llama3")
    for path in source.glob("*.safetensors"):
        path.unlink()
    assert statuses(report_of(user, source))["date"] == "pass"
    # This process alone: the child that renders is isolated, and looks into no folder of PYTHONPATH.
    assert (spy / "notes").read_text().split() == ["began"]


def test_the_spy_sees_what_is_imported(user: User, tmp_path: Path) -> None:
    """Where a repo is asked for, the client is needed."""
    (tmp_path / "sitecustomize.py").write_text(SPY)
    user.more = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'scripts'}"}
    user.run("smoke", "--source", "acme/m", "--template-only", code=3)
    assert "huggingface_hub" in (tmp_path / "notes").read_text().split()


def test_of_a_repo_only_small_files_are_fetched(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", hidden=256, layers=4)
    with Hub(tmp_path / "hub") as hub:
        files = {path.name: path for path in source.iterdir()}
        first = hub.put("acme/m", {**files})
        user = User(tmp_path / "home", hub)
        assert "m \N{MIDDLE DOT} chat template: pass" in look_at(user, "acme/m").out
        loaded = {request.path.rpartition("/")[2] for request in hub.log if "/resolve/" in request.path}
        assert {"tokenizer_config.json", "tokenizer.json"} <= loaded
        assert not [name for name in loaded if "safetensors" in name or name in ("README.md", "LICENSE")]
        weights = files["model.safetensors"].stat().st_size
        assert sum(request.sent for request in hub.log) < 200_000 < weights
        assert {request.method for request in hub.log} <= {"GET", "HEAD"}

        hub.put("acme/m", {"chat_template.jinja": b"{{ messages.__class__ }}"}, message="worse")
        assert failed(report_of(user, "acme/m", code=1)) == ["template-safe"]
        assert statuses(report_of(user, "acme/m", "--revision", first))["template-safe"] == "pass"
        assert "acme/none" in user.run("smoke", "--source", "acme/none", "--template-only", code=2).err


# Hostile text

HOSTILE = "\n::set-output name=repo::evil/model\n\x1b[2J\x1b]0;owned\x07 ##[add-path]/tmp \x7f \u202e [bold]x[/bold] &"


def hostile_templates() -> dict[str, object]:
    refused = "{{ raise_exception(" + json.dumps(HOSTILE) + ") if messages[0].role == 'system' }}"
    return {
        "in what it refuses": refused + CHATML,
        "in what it writes": CHATML.replace("assistant", "assistant' + " + json.dumps(HOSTILE) + " + '"),
        "in its own text": HOSTILE + CHATML,
        "in its name": [*named("default"), {"name": HOSTILE, "template": CHATML}],
    }


@pytest.mark.parametrize("where", hostile_templates())
def test_strangers_words_command_nobody(user: User, tmp_path: Path, where: str) -> None:
    source = folder(tmp_path / "m", hostile_templates()[where], bos_token=f"<s>{HOSTILE}")
    assert "set-output" in look_at(user, source).text or where == "in its own text"
    report = report_of(user, source)
    texts = [report["dialogues"]["user"]["text"], report["dialogues"]["system+user"]["error"] or ""]
    assert any("set-output" in text for text in texts) is (where != "in its name")


@pytest.mark.parametrize("template", ["{{ raise_exception(" + json.dumps(HOSTILE) + ") }}", None])
def test_strangers_words_in_a_refusal_command_nobody(user: User, tmp_path: Path, template: str | None) -> None:
    other = [{"name": HOSTILE, "template": CHATML}]
    source = folder(tmp_path / "m", template or other)
    assert "set-output" in look_at(user, source, code=1).text
    (check, *_) = (check for check in report_of(user, source, code=1)["checks"] if check["status"] == "fail")
    assert HOSTILE.strip() in check["message"]


def test_half_of_a_surrogate_pair_can_be_shown(user: User, tmp_path: Path) -> None:
    source = folder(tmp_path / "m", "{{ raise_exception('\\ud800') if messages[0].role == 'system' }}" + CHATML)
    assert report_of(user, source)["dialogues"]["system+user"]["error"] == "\ud800"
