"""Command lines for the card: mlx-lm's own programs, asked what the smoke test asked.

Options: `setup_arg_parser` of mlx_lm/generate.py and chat.py, `main` and `handle_chat_completions` of server.py.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

from mlx_publish.converters._converter import Commands
from mlx_publish.evidence.evidence import Sampling
from mlx_publish.evidence.measurements import SmokeSpec

_ADDRESS = "http://127.0.0.1:8080/v1"
_LONGEST = 240  # characters of a question that one likes to read in a command
_SAFE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
STAND_INS = {"system": "Answer in one sentence.", "prompt": "What causes a solar eclipse?"}


def commands(load_as: str, smoke: SmokeSpec | None) -> Commands:
    """Return command lines for the model that is called `load_as`."""
    model = ["--model", shell(load_as)]
    chats = smoke is None or smoke.chat_template
    system = option("--system-prompt", _asked(smoke)["system"]) if smoke and smoke.system == "native" else []
    return Commands(
        generate=_joined("mlx_lm.generate", model, ["--max-tokens", "256"], system, *_question(smoke)),
        chat=_joined("mlx_lm.chat", model, system) if chats else "",
        serve=_joined("mlx_lm.server", model),
        request=_request(smoke),
        quick=_quick(model, smoke, chats=chats),
    )


def _quick(model: list[str], smoke: SmokeSpec | None, *, chats: bool) -> str:
    """Return a line that runs the model without installing anything: a conversation, or a continuation."""
    run = "uvx --from mlx-lm"
    if chats:
        return f"{run} mlx_lm.chat {' '.join(model)}"
    return f"{run} mlx_lm.generate {' '.join((*model, *option('--prompt', _asked(smoke)['prompt'])))}"


def sampling_flags(sampling: Sampling) -> str:
    """Return options of mlx_lm.generate; it takes no repetition penalty, and mlx_lm.chat neither top-k nor min-p."""
    given = (
        ("--temp", sampling.temperature),
        ("--top-p", sampling.top_p),
        ("--top-k", sampling.top_k),
        ("--min-p", sampling.min_p),
    )
    return " ".join(f"{flag} {value:g}" for flag, value in given if value is not None)


def _asked(smoke: SmokeSpec | None) -> Mapping[str, str]:
    """Return the smoke test's texts, or stand-ins where they cannot be read at a glance in a command."""
    asked = smoke.asked if smoke else STAND_INS
    fine = all(text and text.isprintable() and len(text) <= _LONGEST and "\\" not in text for text in asked.values())
    return asked if fine else STAND_INS


def _question(smoke: SmokeSpec | None) -> list[list[str]]:
    """Return prompt and options. mlx_lm.generate makes line ends of \\n in a prompt, so folding needs none here."""
    asked = _asked(smoke)
    folded = _way(smoke) == "first-user"
    prompt = option("--prompt", f"{asked['system']}\\n\\n{asked['prompt']}" if folded else asked["prompt"])
    options = smoke.options if smoke else None
    return [*([["--chat-template-config", shell(json.dumps(options))]] if options else []), prompt]


def option(name: str, text: str) -> list[str]:
    """Return an option with its value; a value that begins with a hyphen would be taken for another option."""
    return [f"{name}={shell(text)}"] if text.startswith("-") else [name, shell(text)]


def _request(smoke: SmokeSpec | None) -> str:
    """Return a request to the server; what stands between the two marks is JSON and needs no quoting."""
    asked, chats = _asked(smoke), smoke is None or smoke.chat_template
    body: dict[str, object] = {"messages": _messages(_way(smoke), asked)} if chats else {"prompt": asked["prompt"]}
    if smoke and smoke.options:
        body["chat_template_kwargs"] = smoke.options
    # A message a line.
    lines = []
    for key, value in {**body, "max_tokens": 256}.items():
        items = value if isinstance(value, list) else []
        inside = ",\n".join(f"    {json.dumps(message, ensure_ascii=False)}" for message in items)
        text = f"[\n{inside}\n  ]" if items else json.dumps(value, ensure_ascii=False)
        lines.append(f"  {json.dumps(key)}: {text}")
    page = f"{_ADDRESS}/{'chat/completions' if chats else 'completions'}"
    head = f"curl {page} \\\n  -H \"Content-Type: application/json\" -d @- <<'JSON'"
    return "\n".join((head, "{", ",\n".join(lines), "}", "JSON"))


def _way(smoke: SmokeSpec | None) -> str:
    """Return how the test gave the system text; `own-turn` became one turn where the template takes no two."""
    if smoke is None:
        return "none"
    alone = len(smoke.exchange.messages) == 1
    return "first-user" if smoke.system == "own-turn" and alone else smoke.system


def _messages(way: str, asked: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the messages that ask it."""
    user = {"role": "user", "content": asked["prompt"]}
    if way == "first-user":
        return [{"role": "user", "content": f"{asked['system']}\n\n{asked['prompt']}"}]
    role = {"native": "system", "own-turn": "user"}.get(way)
    return [{"role": role, "content": asked["system"]}, user] if role else [user]


def shell(text: str) -> str:
    """Return a word for a shell, in the quotes that read best; the same word for sh, bash and zsh."""
    if _SAFE.fullmatch(text):
        return text
    if "'" not in text:
        return f"'{text}'"
    # An exclamation mark asks an interactive shell for its history; a backslash before a letter stays one.
    return shlex.quote(text) if re.search(r'["$`!]|\\(?![A-Za-z])', text) else f'"{text}"'


def _joined(program: str, *parts: list[str]) -> str:
    """Return one line where it fits a page, else a line for each option."""
    words = [" ".join(part) for part in parts if part]
    line = " ".join([program, *words])
    return line if len(line) <= 90 else " \\\n  ".join([f"{program} {words[0]}", *words[1:]])
