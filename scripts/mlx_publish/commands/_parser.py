"""The parser of all commands: what `--help` prints, and what is answered to words that it does not know."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import mlx_publish
from mlx_publish.commands import command_called, registry
from mlx_publish.commands._arguments import add_json, recipe_path
from mlx_publish.commands._command import Command, Group
from mlx_publish.errors import BadInput
from mlx_publish.recipes.slips import FLAGS
from mlx_publish.text.harmless import one_line
from mlx_publish.text.kit import page
from mlx_publish.text.nearest import did_you_mean, nearest

_LONGEST = 400
"""Characters of an error of usage."""
_LONGEST_NAME = 200
"""Characters of a recipe's name, beyond which no file is looked for."""
_WIDTH, _INDENT = 100, 26
_ABOUT_ARGUMENT = re.compile(r"argument (?P<name>\S+): (?P<message>.*)", re.DOTALL)
_MISSING = "the following arguments are required: "
_REWORDED: Mapping[str, str] = {
    "expected one argument": "needs a value",
    "expected at least one argument": "needs at least one value",
}


class Parser(argparse.ArgumentParser):
    """The parser of one command: whole flags only, short usage, errors as `BadInput` that say what was meant."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Make one without colours, which Python 3.14 writes and a door would take for commands to a terminal."""
        options = {"allow_abbrev": False, "formatter_class": _Help, "add_help": False, **options}
        super().__init__(*arguments, **options)
        self.color = False
        self.add_argument("-h", "--help", action="help", help="print this help")

    @property
    def flags(self) -> list[str]:
        """The flags that its help lists; others are taken all the same."""
        return [
            flag
            for action in self._actions
            if action.help != argparse.SUPPRESS
            for flag in action.option_strings
            if flag.startswith("--")
        ]

    @property
    def actions(self) -> Sequence[argparse.Action]:
        """Its arguments, in the order of its help."""
        return self._actions

    def takes(self, flag: str) -> bool:
        """Return whether it has a flag."""
        return flag in self._option_string_actions

    def format_usage(self) -> str:
        """Return one line: required flags and arguments, and `[options]`."""
        formatter = self._get_formatter()
        formatter.add_usage(self._usage(), [], [], "usage: ")
        return formatter.format_help()

    def format_help(self) -> str:
        """Return the whole help below a usage of one line."""
        self.usage = self._usage()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raise `BadInput` in place of argparse's message, which repeats all flags."""
        remedy = f"Run: {self.prog} --help"
        if message.startswith(_MISSING):
            raise BadInput(f"{one_line(message.removeprefix(_MISSING), _LONGEST)}: missing", remedy=remedy)
        match = _ABOUT_ARGUMENT.fullmatch(message)
        if match is None:
            raise BadInput(one_line(message, _LONGEST), remedy=remedy)
        name, message = match["name"], _REWORDED.get(match["message"], match["message"])
        action = next((action for action in self._actions if _name(action) == name), None)
        if action is not None and message in _REWORDED.values():
            remedy = f"Write {name} {action.metavar or action.dest.upper()}: {action.help}."
        if action is not None and action.choices and (given := re.match(r"invalid choice: '(.*?)'", message)):
            known = [str(choice) for choice in action.choices]
            message, remedy = f"'{given[1]}' is not known{did_you_mean(given[1], known)}", f"One of {', '.join(known)}."
        raise BadInput(one_line(message, _LONGEST), place=name, remedy=remedy)

    def judge_flags(self, words: Sequence[str]) -> None:
        """Raise `BadInput` at the first flag that it does not have, before anything else of them is judged."""
        for word in words:
            flag = word.partition("=")[0]
            if word == "--":
                return
            # As argparse: what begins with a hyphen and holds a blank is a value.
            if flag.startswith("--") and " " not in word and not self.takes(flag):
                meant = FLAGS.get(flag) if self.takes(FLAGS.get(flag, "")) else nearest(flag, self.flags)
                ending = f"; did you mean {meant}?" if meant else ""
                raise BadInput(f"{self.prog} has no {one_line(flag)}{ending}", remedy=f"Run: {self.prog} --help")

    def judge_rest(self, words: Sequence[str]) -> None:
        """Raise `BadInput` if words are left that belong to no flag."""
        if not words:
            return
        meant = ""
        if self.takes("--recipe") and (re.search(r"\.ya?ml$", words[0]) or _is_recipe(words[0])):
            meant = f"--recipe {one_line(words[0])}"
        elif "/" in words[0] and self.takes("--source"):
            meant = f"--source {one_line(words[0])}"
        elif self.takes(f"--{words[0]}"):
            meant = f"--{words[0]}"
        ending = f"; did you mean {meant}?" if meant else ""
        raise BadInput(f"'{one_line(words[0])}' belongs to no flag{ending}", remedy=f"Run: {self.prog} --help")

    def fill(self, options: argparse.Namespace, inputs: Mapping[str, str], names: Mapping[str, str]) -> None:
        """Give each option that was not given its input, which has the same name or the one that `names` has.

        An input `true` is a flag; one whose option has a default of its own stands in for nothing.
        """
        options.inputs = inputs
        for action in self._actions:
            text = inputs.get(names.get(action.dest, action.dest))
            if text is None or not hasattr(options, action.dest):
                continue
            if getattr(options, action.dest) is None:
                setattr(options, action.dest, action.type(text) if callable(action.type) else text)
            elif getattr(options, action.dest) is False:
                setattr(options, action.dest, text == "true")

    def _usage(self) -> str:
        required = [
            f"{action.option_strings[0]} {action.metavar or action.dest.upper()}"
            for action in self._actions
            if action.required and action.option_strings
        ]
        places = [_place(action) for action in self._actions if not action.option_strings]
        return " ".join((self.prog, *required, "[options]", *places)).replace("%", "%%")


class Commands(Parser):
    """The parser above those of the commands."""

    def __init__(self, words: Sequence[str] = ()) -> None:
        """Add each command of the registry; only the one that `words` begin with, where its name is its module's.

        To load all commands and to add their arguments takes longer than some commands do.
        """
        super().__init__(prog="mlx-publish", description=mlx_publish.__doc__)
        self.add_argument("--version", action="version", version=f"mlx-publish {mlx_publish.__version__}")
        alone = command_called(words[0]) if words else None
        self.commands = {alone.name: alone} if alone else registry()
        self.parsers: dict[str, Parser] = {}
        own = self.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
        for command in self.commands.values():
            parser: Parser = own.add_parser(command.name, description=_described(command))
            command.add_arguments(parser)
            if not parser.takes("--json"):  # of an error at least
                add_json(parser)
            parser.set_defaults(chosen=command, own=parser, inputs={})
            self.parsers[command.name] = parser

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Parse; without any word print the help. Raises `BadInput` for what nobody knows."""
        words = list(sys.argv[1:] if args is None else args)
        if not words or words[0] == "help":
            words = [*words[1:], "--help"]
        first = words[0]
        if first not in self.parsers and not self.takes(first):
            raise _unknown(first, self)
        if first in self.parsers:
            self.parsers[first].judge_flags(words[1:])
        options: argparse.Namespace
        options, rest = self.parse_known_args(words, namespace)
        options.own.judge_rest(rest)
        return options

    def format_help(self) -> str:
        """Return the commands below their groups."""
        widest = max(map(len, self.commands))
        lines = [f"usage: {self.prog} COMMAND [options]", f"       {self.prog} COMMAND --help", ""]
        lines += textwrap.wrap(" ".join((self.description or "").split()), _width())
        for group in Group:
            listed = [command for command in self.commands.values() if command.group is group]
            lines += ["", f"{group.value}:"] if listed else []
            for command in listed:
                lines += textwrap.wrap(
                    command.help,
                    _width(),
                    initial_indent=f"  {command.name:{widest}}  ",
                    subsequent_indent=" " * (widest + 4),
                )
        lines += ["", "Options:", f"  {'--version':{widest}}  print the version", f"  {'--help':{widest}}  print this"]
        return "\n".join((*lines, "", f"Guide: {page('docs/getting-started.md')}", ""))


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, its texts at one column."""

    def __init__(self, prog: str, **_: Any) -> None:  # later Pythons hand on whether there are colours
        super().__init__(prog, max_help_position=_INDENT, width=_width())


def _is_recipe(word: str) -> bool:
    """Tell whether there is a recipe of that name in `recipes/`."""
    return word.isprintable() and len(word) <= _LONGEST_NAME and recipe_path(word).suffix in (".yaml", ".yml")


def wants_json(words: Sequence[str]) -> bool:
    """Return whether `--json` is among the words, whatever else is wrong with them."""
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def _unknown(word: str, parser: Commands) -> BadInput:
    if word.startswith("-"):
        ending = did_you_mean(word, parser.flags)
        return BadInput(
            f"the command comes first, before {one_line(word)}{ending}", remedy=f"Run: {parser.prog} --help"
        )
    ending = f"; did you mean --{word}?" if parser.takes(f"--{word}") else did_you_mean(word, parser.commands)
    return BadInput(f"unknown command {one_line(word)}{ending}", remedy=f"Run: {parser.prog} --help")


def _described(command: Command) -> str:
    """Return one line of purpose, or what the command says of itself, and its example."""
    purpose = command.description or command.help
    text = "\n".join(textwrap.wrap(f"{purpose[0].upper()}{purpose[1:].rstrip('.')}.", _width()))
    return f"{text}\n\nexample:\n{textwrap.indent(command.example, '  ')}" if command.example else text


def _width() -> int:
    return min(_WIDTH, shutil.get_terminal_size((80, 24)).columns - 1)


def _name(action: argparse.Action) -> str:
    """Return what argparse calls an argument in messages."""
    return "/".join(action.option_strings) or str(action.metavar or action.dest)


def _place(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    return {"+": f"{name}...", "*": f"[{name}...]", "?": f"[{name}]"}.get(str(action.nargs), name)
