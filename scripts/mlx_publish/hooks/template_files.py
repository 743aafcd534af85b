"""Where chat templates stand: files of their own, and keys of tokenizer_config.json and chat_template.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.errors import Refused, in_file
from mlx_publish.hooks.json_lines import key_lines
from mlx_publish.model.draft import CONFIG, SPECIAL, read_object, read_text
from mlx_publish.model.files import MemoryFiles
from mlx_publish.model.template_places import JINJA, KEY, LEGACY, MORE, named_templates
from mlx_publish.model.template_size import within_size
from mlx_publish.model.tokenizer import read_tokenizer

_ANY = {f"{role}_token": f"<{role}>" for role in ("bos", "eos", "pad", "unk")}


@dataclass(frozen=True)
class Template:
    """One template, where it stands, and what is rendered along with it."""

    path: Path
    text: str
    beside: Mapping[str, str]
    """The templates of its model by name: this one is `default`, or that for tools, or stands alone."""
    special_tokens: Mapping[str, str]
    main: bool = True
    """Whether it applies unasked and so has to take every plain dialogue."""
    key: str = ""
    """Its key in a JSON file; empty for a file of its own."""

    @property
    def lonely(self) -> bool:
        """Return whether no file beside it names special tokens."""
        return self.special_tokens is _ANY

    def line_of(self, line: int) -> int:
        """Return the line of the file; JSON has a whole template on one."""
        return _lines(self.path).get(self.key, 1) if self.key else line


def templates_in(path: Path) -> list[Template]:
    """Return the templates of a file. Raises `Refused` if it cannot be read, or none of several is the default."""
    if path.suffix != ".json":
        within_size(path.name, path.stat().st_size)
    data = path.read_bytes()
    if path.suffix == ".json":
        return list(_in_json(path, read_object(path.name, data)))
    text, more = read_text(path.name, data), path.parent.name == MORE.rstrip("/")
    return [
        Template(path, text, {"default": text}, _tokens(path.parent.parent if more else path.parent), main=not more)
    ]


def _in_json(path: Path, data: Mapping[str, object]) -> Iterator[Template]:
    if path.name == LEGACY and KEY not in data:
        raise Refused(f"{KEY} is missing", place=in_file(path.name), remedy="Remove the file, or add the key.")
    named = named_templates(data.get(KEY), path.name)
    if not named:
        return
    if "default" not in named and not (path.parent / JINJA).is_file():
        raise Refused(
            f"of the chat templates {', '.join(sorted(named))} none is named 'default', so clients use none of them",
            place=in_file(path.name, _lines(path)[KEY]),
            remedy="Name one of them 'default'.",
        )
    tokens = _tokens(path.parent)
    for number, (name, text) in enumerate(named.items()):
        value, main = data[KEY], name == "default"
        key = f"{KEY}[{number}]" if isinstance(value, list) else KEY if isinstance(value, str) else f"{KEY}.{name}"
        beside = named if main else {"default": text}
        yield Template(path, text, beside, tokens, main, key)


def _lines(path: Path) -> Mapping[str, int]:
    return key_lines(path.read_bytes().decode("utf-8-sig"))


def _tokens(folder: Path) -> Mapping[str, str]:
    """Return special tokens by role, as templates take them; stand-ins where no file names them."""
    paths = [path for path in (folder / CONFIG, folder / SPECIAL) if path.is_file()]
    try:
        return read_tokenizer(MemoryFiles({p.name: p.read_bytes() for p in paths})).special_tokens if paths else _ANY
    except Refused:
        return _ANY
