"""Other engines than jinja2: what they make of templates, what is said of it, and what ends them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.chat import engines
from mlx_publish.chat.differences import Difference, differences
from mlx_publish.chat.engines import ENGINES, REMEDIES, available, render_with
from mlx_publish.chat.rendering import Rendered, render
from mlx_publish.children import limits
from mlx_publish.errors import SurroundingsError

M, H = ENGINES
NOW = datetime(2024, 7, 9, 8, 5, 3)  # noqa: DTZ001  templates are told a time without a zone
SECONDS = 30.0
CHATS = sorted((Path(__file__).parents[1] / "chat").glob("*.jinja"))

TOOL = {"type": "function", "function": {"name": "f", "description": "It's <b> & \u00e9", "parameters": {"n": 1.5}}}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": " Hello <b> & 'you' \u00e9 \U0001f600\n"}
ASSISTANT = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nHi."}
CONTEXT: dict[str, Any] = {
    "messages": [SYSTEM, USER, ASSISTANT, USER],
    "tools": [TOOL],
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "d": {"zeta": 1, "alpha": "x"},
    "l": [3, 1, 2],
    "s": "  xxabcxx  ",
    "n": 3,
    "yes": True,
    "nothing": None,
}
DIALOGUES: dict[str, dict[str, Any]] = {
    "user": {"messages": [USER]},
    "system": {"messages": [SYSTEM, USER]},
    "turns": {"messages": [USER, ASSISTANT, USER]},
    "no system": {"messages": [USER, ASSISTANT, USER], "add_generation_prompt": False},
    "tools": {"messages": [SYSTEM, USER], "tools": [TOOL]},
    "two users": {"messages": [USER, USER]},
}

SAME = {
    "the prompt of ChatML": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' "
    "+ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "alternation": "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}x{% endif %}{% endfor %}",
    "loop": "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.length }}{% endfor %}",
    "loop, first and last": "{% for x in l %}{% if loop.first %}a{% elif loop.last %}c{% else %}b{% endif %}{% endfor %}",
    "loop, filter and else": "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}",
    "loop, neighbours": "{% for x in l %}{{ loop.previtem }}|{{ loop.nextitem }};{% endfor %}",
    "loop, pairs": "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "|dictsort": "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "range": "{% for i in range(3, 0, -1) %}{{ i }}{{ l[i - 1] }}{% endfor %}",
    "break": "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "continue": "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "slices": "{% for x in l[::-1] %}{{ x }}{% endfor %}{{ l[1:]|length }}{{ l[-1] }}{{ s[2:4] }}{{ s[::-1] }}",
    "namespace": "{% set ns = namespace(a=0) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}",
    "set, block": "{% set a %}x{{ n }}{% endset %}{{ a }}{% set b, c = 1, 2 %}{{ b }}{{ c }}",
    "set, in a loop": "{% set a = 0 %}{% for x in l %}{% set a = x %}{% endfor %}{{ a }}",
    "macro": "{% macro m(x, y=2) %}{% if x %}{{ x }}{{ y }}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(2, y=5) }}",
    "caller": "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}x{% endcall %}",
    "tojson": "{{ tools|tojson }}{{ messages[1].content|tojson }}{{ {'a': [], 'b': {}}|tojson(indent=2) }}",
    "tojson, options": "{{ tools|tojson(indent=4) }}{{ d|tojson(separators=(',', ':'), sort_keys=True) }}",
    "tojson, ASCII": "{{ messages[1].content|tojson(ensure_ascii=True) }}{{ '\\u2028'|tojson }}",
    "strip": "{{ s.strip() }}|{{ s.lstrip() }}|{{ s|trim }}|{{ s.upper() }}",
    "split": "{{ messages[2].content.split('</think>')[-1]|trim }}{{ s.split('b', 1)[0] }}",
    "text methods": "{{ 'y' if s.startswith('  x') and s.strip().endswith(('q', 'x')) }}{{ s.replace('x', 'y', 1) }}",
    "default": "{{ zzz|default('x') }}{{ nothing|default('y', true) }}{{ (zzz or 'z') }}",
    "get": "{{ d.get('alpha') }}{{ d.get('q', 'z') }}{% if 'zeta' in d and d.q is not defined %}y{% endif %}",
    "attributes": "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}"
    "{{ messages|map(attribute='role')|join(', ') }}",
    "operators": "{{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 3 }} {{ 'a' ~ n ~ 'b' }} {{ 'a' 'b' }} {{ 'a' if nothing else 'b' }}",
    "types": "{% if s is string and d is mapping and l is iterable and nothing is none and n is number %}y{% endif %}",
    "clock": "{{ strftime_now('%d %b %Y, %B %m, %H:%M') }}",
    "escapes": "{{ 'a\\n\\t\\\\\\'\\\"\\u00e9\\x41' }}",
    "lines": "\n  {% if yes %}\n  a\n  {% endif %}\n  {# c #}\nb {{ n }}\n\n",
    "dashes": "a  \n {%- if yes -%}  \n b  {%- endif -%}  c \n{{- n -}}\n d{#- c -#} \n",
}

# What an engine does not know or does otherwise, and how it is called.
OTHER = (
    (M, "\n\na{% generation %}b{% endgeneration %}", "{% generation %}", 3),
    (M, "{{ n }}\n{{ s.removeprefix('  ') }}", "the method .removeprefix()", 2),
    (M, "{{ s.rsplit('x', 1)[0] }}", "the method .rsplit()", 1),
    (M, "{{ d.copy().zeta }}", "the method .copy()", 1),
    (M, "{# % #}\n{{ '%s and %s' % ('a', 'b') }}", "string formatting with %", 2),
    (M, "{{ s|wordcount }}", "the filter |wordcount", 1),
    (M, "{% if n is callable %}{% endif %}", "the test `callable`", 1),
    (M, "{{ nothing|default('x', boolean=true) }}", "|default(boolean=...)", 1),
    (M, "{% set ns = namespace(d, b=2) %}{{ ns.b }}", "namespace() of a mapping and names", 1),
    (M, "{{ 'a1'|int }}", "|int of another text", 1),
    (M, "{% if s is sequence %}x{% endif %}", "the test `is sequence` of this value", 1),
    (M, '{{ "it\'s".title() }}', "the method .title(), for letters after an apostrophe", 1),
    (M, "{{ s\n|indent('--') }}", "|indent('--') }}", 2),
    (H, "\n{{ s.strip(' x') }}", "the method .strip(chars), which takes any white space", 2),
    (H, "{{ s.lstrip('\\n') }}", "the method .lstrip(chars), which takes any white space", 1),
    (H, "{{ s.rsplit('x', 1)[0] }}", "the method .rsplit()", 1),
    (H, "{{ ', '.join(['a']) }}\n{{ s.find('a') }}", "the method .join() or the method .find()", 1),
    (H, "{{ dict(a=1).a }}", "the function dict()", 1),
    (H, "{{ '%s' % s }}", "string formatting with %", 1),
    (H, "{{ '-' * 9 }}", "the operator * between these values", 1),
    (H, "{{ n }}\n{{ s|first }}", "the filter |first", 2),
    (H, "{{ zzz|length }}", "the filter |length of this value", 1),
    (H, "{{ l|select('odd')|list|length }}", "the filter |select", 1),
    (H, "{% if n is divisibleby(3) %}x{% endif %}", "the test `is divisibleby` with an argument", 1),
    (H, "{{ messages|selectattr('role', 'ne', 'user')|list|length }}", "the test `ne`", 1),
    (H, "{{ ['a ']|map('trim')|join }}", "|map without attribute=", 1),
    (H, "{% with a = 1 %}{{ a }}{% endwith %}", "{% with %}", 1),
    (H, "{% raw %}{{ x }}{% endraw %}", "{% raw %}", 1),
    (H, "{% for c in 'ab' %}{{ c }}{% endfor %}", "a loop over a string", 1),
    (H, "{% for a, b in [(1, 2)] %}{{ a }}{% endfor %}", "a tuple that is printed or looped over", 0),
    (H, "{{ d }}", "a printed list or mapping, which it writes as JSON", 0),
    (H, "{{ yes }}", "a printed boolean", 0),
    (H, "{{ nothing }}", "a printed none", 0),
    (H, "{{ strftime_now('%A, %B') }}", "strftime_now with %A", 1),
    (H, "{{ 'a\\0' }}", "the escape \\0 in a string", 1),
    (
        H,
        "{% for x in l %}a{% if x == 1 %}{% break %}{% endif %}{% endfor %}",
        "{% break %}, which drops what its turn wrote",
        1,
    ),
    (H, "{% for x in l %}{{ a }}{% set a = x %}{% endfor %}", "{% set a %} in a loop, which the next turn sees", 1),
    (H, "\n{{ zzz.a.b }}", "an attribute of an undefined value", 2),
    (H, "a\r\n{% if yes %}\r\nb{% endif %}", "lines that end in \\r\\n", 1),
)
ENDLESS = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}" + "{% endfor %}" * 3
GROWING = (
    "{% set ns = namespace(x='abcd') %}{% for i in range(TIMES) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}"
)


def needs(engine: str) -> str:
    if engine not in available():
        pytest.skip(f"{engine} is not installed. {REMEDIES[engine]}")
    return engine


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return needs(request.param)


def compare(engine: str, templates: Mapping[str, str], context: Mapping[str, Any] = CONTEXT) -> list[Difference]:
    """Differences of many templates, each with itself as the name of its probe."""
    theirs = render_with(engine, [(template, context) for template in templates.values()], NOW, SECONDS)
    differing = []
    for (name, template), answer in zip(templates.items(), theirs, strict=True):
        differing += differences({name: render(template, context, NOW)}, {name: answer}, template, engine)
    return differing


def compared(ours: Rendered, answer: Rendered, template: str = "", engine: str = H) -> list[Difference]:
    return differences({"a": ours}, {"a": answer}, template, engine)


def text(of: str) -> Rendered:
    return Rendered(of, None, "text")


def test_engines_make_the_same_of_what_templates_commonly_use(engine: str) -> None:
    assert compare(engine, SAME) == []


@pytest.mark.parametrize(("engine", "template", "construct", "line"), OTHER)
def test_a_difference_names_the_construct_and_its_line(engine: str, template: str, construct: str, line: int) -> None:
    (difference,) = compare(needs(engine), {"a": template})
    assert (difference.construct, difference.line, difference.engine, difference.probe) == (
        construct,
        line,
        engine,
        "a",
    )


@pytest.mark.parametrize("path", CHATS, ids=lambda path: path.stem)
def test_differences_in_whole_templates_name_a_construct(engine: str, path: Path) -> None:
    template = path.read_text(encoding="utf-8")
    base = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None, "add_generation_prompt": True}
    contexts = {name: base | dialogue for name, dialogue in DIALOGUES.items()}
    answers = render_with(engine, [(template, context) for context in contexts.values()], NOW, SECONDS)
    ours = {name: render(template, context, NOW) for name, context in contexts.items()}
    differing = differences(ours, dict(zip(contexts, answers, strict=True)), template, engine)
    assert [difference for difference in differing if not difference.construct] == []


def test_a_refusal_in_both_is_no_difference(engine: str) -> None:
    template = "{{ raise_exception('No ' + s) }}"
    (answer,) = render_with(engine, [(template, CONTEXT)], NOW, SECONDS)
    assert answer == Rendered(None, "No   xxabcxx  ", "refused")
    assert compare(engine, {"a": template}) == []


def test_an_error_of_the_engine_is_told_from_a_refusal(engine: str) -> None:
    (answer,) = render_with(engine, [("\n\n{{ s|zzz }}", CONTEXT)], NOW, SECONDS)
    assert answer.kind == "broken"
    assert "zzz" in (answer.error or "")
    assert answer.line in (0, 3)


@pytest.mark.parametrize(
    "value", ["\u2028 \u0085 \x1c\n", {"a b": 1, "items": {}}, [[], [None, True, -1, 1e-7]], "{% {{ #}"]
)
def test_values_arrive_as_they_are(engine: str, value: object) -> None:
    context = {"value": value, "not a name": 1}
    (answer,) = render_with(engine, [("{{ value|tojson }}", context)], NOW, SECONDS)
    assert json.loads(answer.text or "") == value


def test_values_have_no_methods_of_python_in_minijinja() -> None:
    (answer,) = render_with(needs(M), [("{{ l.index(1) }}", CONTEXT)], NOW, SECONDS)
    assert answer.error == "unknown method: sequence has no method named index"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every child that was started."""
    started: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    return started


def test_an_endless_template_ends_in_time(engine: str, children: list[subprocess.Popen[bytes]]) -> None:
    before = time.monotonic()
    first, second, third = render_with(engine, [("a", {}), (ENDLESS, {}), ("b", {})], NOW, 2)
    assert time.monotonic() - before < 10
    assert first == Rendered("a", None, "text")
    assert second == Rendered(None, "the engine did not end within 2 s", "unsafe")
    assert third.kind == "not-reached"
    with pytest.raises(ProcessLookupError):
        os.killpg(children[0].pid, 0)


def test_a_growing_template_ends(engine: str, children: list[subprocess.Popen[bytes]]) -> None:
    first, second = render_with(engine, [("a", {}), (GROWING.replace("TIMES", "60"), {})], NOW, SECONDS)
    assert first == Rendered("a", None, "text")
    assert second.kind in ("broken", "unsafe")
    assert children[0].poll() is not None


def test_a_long_text_is_not_handed_over(engine: str) -> None:
    long, after = render_with(engine, [(GROWING.replace("TIMES", "20"), {}), ("b", {})], NOW, SECONDS)
    assert long == Rendered(None, "it wrote more than 2,000,000 characters", "broken")
    assert after == Rendered("b", None, "text")


Program = Callable[[str], None]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script in the place of an engine."""
    monkeypatch.setattr(engines, "available", lambda: {M: "1"})

    def put(script: str) -> None:
        monkeypatch.setattr(engines, "_command", lambda *_: ["/bin/sh", "-c", f"read -r order; {script}"])

    return put


LOADED = """echo '{"said": "loaded"}'; """


def run(count: int, seconds: float = SECONDS) -> list[Rendered]:
    return render_with(M, [("a", {})] * count, NOW, seconds)


def test_a_child_that_dies_is_answered_for(program: Program) -> None:
    program(
        LOADED
        + """echo '{"said": {"text": "a"}}'; printf '{"te'
        { echo out of memory; echo b; } >&2; kill -9 $$"""
    )
    first, second, third = run(3)
    assert first == Rendered("a", None, "text")
    assert second == Rendered(None, "the engine ended with -9 and said out of memory", "unsafe")
    assert (third.error or "").startswith("not rendered, because at one before it the engine ended with -9")


def test_a_child_that_says_nothing_is_answered_for(program: Program) -> None:
    program(LOADED + "exit 3")
    assert run(1) == [Rendered(None, "the engine ended with 3 and said nothing", "unsafe")]


def test_a_child_that_does_not_start_says_nothing_of_a_template(program: Program) -> None:
    program("echo no module >&2; exit 1")
    with pytest.raises(SurroundingsError) as caught:
        run(1)
    assert caught.value.message == "the engine minijinja ended with 1 and said no module before it was loaded"
    assert caught.value.remedy == REMEDIES[M]


def test_memory_is_watched_where_the_system_does_not(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    grown = tmp_path / "grown"
    program(f"{LOADED} sleep 0.3; : > {grown}; sleep 60")
    monkeypatch.setattr(limits, "WATCHED", True)
    monkeypatch.setattr("mlx_publish.children.process.resident", lambda _: 2 * engines.MEMORY * grown.exists())
    assert run(1) == [Rendered(None, "the engine took more than 1024 MB of memory", "unsafe")]


def test_a_child_sees_no_token_and_takes_its_children_along(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    program(
        f"""{LOADED} sleep 60 & echo $! > {tmp_path}/pid
        echo "{{\\"said\\": {{\\"text\\": \\"$HF_TOKEN $TZ $LC_ALL\\"}}}}" """
    )
    assert run(1) == [Rendered(" UTC C.UTF-8", None, "text")]
    pid = int((tmp_path / "pid").read_text())
    assert any(not alive(pid) for _ in waiting(5))


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def waiting(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


def test_nothing_is_started_for_no_requests(program: Program) -> None:
    program("exit 3")
    assert run(0) == []


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with Node and without either engine, and its current folder."""

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(shutil, "which", lambda name, path: f"/usr/bin/{name}")
    monkeypatch.delenv("MLX_PUBLISH_NODE_MODULES", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put_package(folder: Path, version: str) -> None:
    package = folder / "node_modules" / "@huggingface" / "jinja" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"version": version}))


@pytest.mark.usefixtures("bare")
def test_an_engine_that_is_missing_is_named_with_its_remedy() -> None:
    assert available() == {}
    with pytest.raises(SurroundingsError) as caught:
        render_with(H, [("a", {})], NOW, SECONDS)
    assert caught.value.message == "the engine huggingface-jinja is not installed here"
    assert "MLX_PUBLISH_NODE_MODULES" in caught.value.remedy


def test_modules_of_the_current_folder_are_never_taken(bare: Path) -> None:
    put_package(bare, "1.2.3")
    assert available() == {}


def test_a_folder_that_is_named_counts_alone(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_PUBLISH_NODE_MODULES", str(bare / "other"))
    assert available() == {}
    put_package(bare / "other", "4.5.6")
    assert available() == {H: "4.5.6"}


def test_modules_are_of_no_use_without_node(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_package(bare, "1.2.3")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert available() == {}


def test_the_place_where_texts_part_is_told() -> None:
    (difference,) = compared(text("<|user|>abc"), Rendered("<|user|>ab", None, "text"))
    assert difference.message == "writes '' in place of 'c' at character 10"
    assert (difference.construct, difference.line, difference.remedy) == ("", 0, "")


def test_what_was_not_reached_does_not_count() -> None:
    assert compared(text("a"), Rendered(None, "not rendered", "not-reached")) == []
    assert compared(Rendered(None, "not rendered", "not-reached"), Rendered("a", None, "text")) == []


def test_errors_in_both_are_no_difference() -> None:
    assert compared(Rendered(None, "line 1: UndefinedError: x", "broken"), Rendered(None, "y", "broken")) == []


def test_a_refusal_of_one_is_found_in_the_template() -> None:
    template = "{% if a %}\n{{ raise_exception('Roles must alternate: ' + a) }}{% endif %}"
    (difference,) = compared(text("a"), Rendered(None, "Roles must alternate: b", "refused"), template)
    assert (difference.construct, difference.line) == ("the refusal 'Roles must alternate...'", 2)


def test_neither_comments_nor_text_are_blamed() -> None:
    template = "{# s|first #}|first\n{{ s|first }}"
    (difference,) = compared(text("a"), Rendered(None, "Unknown StringValue filter: first", "broken"), template)
    assert difference.line == 2


def test_the_line_that_the_engine_names_comes_before_others() -> None:
    template = "{{ s|zzz }}\n{{ s|zzz }}"
    (difference,) = compared(
        text("a"), Rendered(None, "unknown filter: filter zzz is unknown", "broken", line=2), template, M
    )
    assert (difference.construct, difference.line) == ("the filter |zzz", 2)


def test_the_line_that_jinja2_names_counts_where_it_alone_fails() -> None:
    ours = Rendered(None, 'line 3: TypeError: can only concatenate str (not "list") to str', "broken", line=3)
    (difference,) = compared(ours, Rendered("a", None, "text"), "{{ a + b }}\n\n{{ c + d }}")
    assert (difference.construct, difference.line) == ("+ between a string and another value", 3)


def test_several_suspects_are_named_at_most_three() -> None:
    template = "{{ s.strip('x') }}{{ s|title }}{{ s == '' }}{{ l is sequence }}"
    (difference,) = compared(text("ab"), Rendered("ac", None, "text"), template)
    assert difference.construct.count(" or ") == 2


def test_a_remedy_is_told_where_there_is_one() -> None:
    (difference,) = compared(text("{'a': 1}"), Rendered('{"a": 1}', None, "text"), "{{ d }}")
    assert difference.remedy == "Use |tojson."


@pytest.mark.parametrize("piece", ["{% for a in b %}", "{% macro a(", "{{ a|d(", "{{ '", "{%", "\n{{ a.strip("])
def test_a_giant_template_takes_no_time(piece: str) -> None:
    before = time.monotonic()
    for engine in ENGINES:
        compared(text("a"), Rendered("b", None, "text"), piece * 200_000, engine)
        compared(text("a"), Rendered(None, "too many arguments: unexpected keyword", "broken"), piece * 200_000, engine)
    assert time.monotonic() - before < 10
