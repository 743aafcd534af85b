"""Scripts that complete a command line in bash, zsh and fish, made from the parser: none of them starts Python."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.commands._arguments import RECIPE_FLAGS
from mlx_publish.commands._parser import Commands, Parser
from mlx_publish.evidence.stages import NAMES

_HEAD = "# Completion of mlx-publish, made by: mlx-publish completion %s\n"
_BASH = r"""
_mlx_publish_recipes() {
  local file
  for file in recipes/*.yaml recipes/*.yml; do [ -f "$file" ] && printf '%s\n' "$file"; done
}
# Offer lines that begin with the word. `compgen -W` would run what stands in `$( )` in the name of a file.
_mlx_publish_offer() {
  local line
  while IFS= read -r line; do
    case $line in "$current"*) COMPREPLY+=("$line") ;; esac
  done
}
# The short names in `variants:` of the recipe that the line names.
_mlx_publish_variants() {
  local word file= before=
  for word in "${COMP_WORDS[@]}"; do
    [ "$before" = --recipe ] && file=$word
    before=$word
  done
  [ -f "$file" ] || file=recipes/$file.yaml
  [ -f "$file" ] && sed -n '/^variants:/,/^[a-z]/{/^variants:/s/variants://p;/^ *- /p;}' < "$file" |
    tr -c 'A-Za-z0-9_.\n-' '\n' | grep -E '^(mx|nv|bf|fp|mixed|[0-9]+bit)[A-Za-z0-9_-]*$'
}
_mlx_publish() {
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words= places=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "@commands@ --help --version" -- "$current"))
    return
  fi
  case "$command $before" in
@values@
  esac
  case $command in
@flags@
  esac
  case $current in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    *)
      COMPREPLY=($(compgen -W "$places" -- "$current"))
      _mlx_publish_offer < <(compgen -f -- "$current")
      ;;
  esac
}
complete -o filenames -F _mlx_publish mlx-publish
"""
_ZSH = r"""#compdef mlx-publish
@variants@
_mlx_publish() {
  local before=${words[CURRENT-1]} command=${words[2]}
  local -a known flags places
  if (( CURRENT == 2 )); then
    known=(
@commands@
      '--help:print this help' '--version:print the version')
    _describe command known
    return
  fi
  case "$command $before" in
@values@
  esac
  case $command in
@flags@
  esac
  if [[ $PREFIX == -* ]]; then
    _describe flag flags
  else
    compadd -- $places
    _files
  fi
}
compdef _mlx_publish mlx-publish
"""
_FISH = r"""
function __mlx_publish_recipes
  for file in recipes/*.yaml recipes/*.yml
    echo $file
  end
end
function __mlx_publish_variants
  set -l words (commandline -opc)
  set -l at (contains -i -- --recipe $words); or return
  set -l file $words[(math $at + 1)]
  test -f "$file"; or set file recipes/$file.yaml
  test -f "$file"; or return
  sed -n '/^variants:/,/^[a-z]/{/^variants:/s/variants://p;/^ *- /p;}' < $file |
    tr -c 'A-Za-z0-9_.\n-' '\n' | grep -E '^(mx|nv|bf|fp|mixed|[0-9]+bit)[A-Za-z0-9_-]*$'
end
complete -c mlx-publish -f -n __fish_use_subcommand -l help -d 'print this help'
complete -c mlx-publish -f -n __fish_use_subcommand -l version -d 'print the version'
"""
_WORDS = {"STAGE": NAMES}
"""What stands for a word of the help."""


@dataclass(frozen=True)
class _Value:
    """What may follow a flag: known words, or what the shell finds."""

    words: tuple[str, ...] = ()
    kind: str = ""
    """`recipe`, `variant`, `folder`, `file`; empty for known words or any text."""


def bash(parser: Commands) -> str:
    """Return a script for bash."""
    flags = [
        f"    {name}) words='{' '.join(own.flags)}' places='{' '.join(_places(own))}' ;;"
        for name, own in parser.parsers.items()
    ]
    text = _BASH.replace("@commands@", " ".join(parser.parsers)).replace("@flags@", "\n".join(flags))
    return _HEAD % "bash" + text.replace("@values@", "\n".join(_cases(parser, _bash_reply)))


def _cases(parser: Commands, reply_to: Callable[[_Value], str]) -> Iterator[str]:
    """Yield the branches of a `case` over command and flag, each of which completes the flag's value."""
    replies: dict[str, dict[str, list[str]]] = {}
    for name, own in parser.parsers.items():
        for action in _listed(own):
            if action.nargs != 0:
                reply = reply_to(_value(action))
                replies.setdefault(action.option_strings[0], {}).setdefault(reply, []).append(name)
    for flag, by_reply in replies.items():
        for reply, names in by_reply.items():
            # Most flags take the same in all commands.
            pattern = f'*" {flag}"' if len(by_reply) == 1 else " | ".join(f'"{name} {flag}"' for name in names)
            yield f"    {pattern}) {reply}return ;;"


def zsh(parser: Commands) -> str:
    """Return a script for zsh."""
    commands = [f"      {_described(name, command.help)}" for name, command in parser.commands.items()]
    flags = []
    for name, own in parser.parsers.items():
        known = " ".join(_described(action.option_strings[-1], action.help or "") for action in _listed(own))
        flags.append(f"    {name}) flags=({known}) places=({' '.join(_places(own))}) ;;")
    variants = _BASH.partition("# The short")[2].partition("_mlx_publish() {")[0]
    variants = "# The short" + variants.replace("${COMP_WORDS[@]}", "${words[@]}")
    text = _ZSH.replace("@commands@", "\n".join(commands)).replace("@flags@", "\n".join(flags))
    text = text.replace("@values@", "\n".join(_cases(parser, _zsh_reply))).replace("@variants@\n", variants)
    first, _, rest = text.partition("\n")
    return f"{first}\n{_HEAD % 'zsh'}{rest}"


def fish(parser: Commands) -> str:
    """Return a script for fish; put it into ~/.config/fish/completions/mlx-publish.fish."""
    lines = [_HEAD % "fish" + _FISH.rstrip("\n")]
    for name, own in parser.parsers.items():
        about = _quoted(parser.commands[name].help)
        lines.append(f"complete -c mlx-publish -f -n __fish_use_subcommand -a {name} -d {about}")
        within = f"complete -c mlx-publish -n '__fish_seen_subcommand_from {name}'"
        if places := _places(own):
            lines.append(f"{within} -a {_quoted(' '.join(places))}")
        lines += [" ".join((within, *_fish_words(action))) for action in _listed(own)]
    return "\n".join(lines) + "\n"


def script(shell: str, parser: Commands) -> str:
    """Return the script of a shell."""
    return {"bash": bash, "zsh": zsh, "fish": fish}[shell](parser)


def _fish_words(action: argparse.Action) -> Iterator[str]:
    for flag in action.option_strings:
        yield f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
    if action.nargs != 0:
        value = _value(action)
        yield {
            "recipe": "-r -a '(__mlx_publish_recipes)'",
            "variant": "-x -a '(__mlx_publish_variants)'",
            "folder": "-x -a '(__fish_complete_directories)'",
            "file": "-r",
        }.get(value.kind, f"-x -a {_quoted(' '.join(value.words))}" if value.words else "-x")
    yield f"-d {_quoted(action.help or '')}"


def _bash_reply(value: _Value) -> str:
    if value.words:
        return f"COMPREPLY=($(compgen -W '{' '.join(value.words)}' -- \"$current\")); "
    return {
        "recipe": '_mlx_publish_offer < <(_mlx_publish_recipes; compgen -d -- "$current"); ',
        "variant": "_mlx_publish_offer < <(_mlx_publish_variants); ",
        "folder": '_mlx_publish_offer < <(compgen -d -- "$current"); ',
        "file": '_mlx_publish_offer < <(compgen -f -- "$current"); ',
    }.get(value.kind, "")


def _zsh_reply(value: _Value) -> str:
    if value.words:
        return f"compadd -- {' '.join(value.words)}; "
    return {
        "recipe": "_files -g '*.(yaml|yml)'; compadd -- recipes/*.(yaml|yml)(N); ",
        "variant": "compadd -- $(_mlx_publish_variants); ",
        "folder": "_files -/; ",
        "file": "_files; ",
    }.get(value.kind, "")


def _described(name: str, text: str) -> str:
    """Return a word and what it means, as zsh's _describe reads them."""
    return "'" + f"{name}:{text}".replace("'", "'\\''") + "'"


def _listed(parser: Parser) -> list[argparse.Action]:
    """Return what begins with hyphens and is shown in the help."""
    return [action for action in parser.actions if action.option_strings and action.help != argparse.SUPPRESS]


def _value(action: argparse.Action) -> _Value:
    """Return what may stand after a flag: its choices, what its name stands for, or what its type is."""
    described = RECIPE_FLAGS.get(action.dest)
    words = action.choices or (described.choices if described else ()) or _WORDS.get(str(action.metavar), ())
    if words:
        return _Value(tuple(map(str, words)))
    if action.dest in ("recipe", "variant"):
        return _Value(kind=action.dest)
    if "DIR" in str(action.metavar):
        return _Value(kind="folder")
    return _Value(kind="file" if action.type is Path or action.metavar == "FILE" else "")


def _places(parser: Parser) -> list[str]:
    """Return the known words that may stand without a flag, as the names of hooks."""
    return [str(word) for action in parser.actions if not action.option_strings for word in action.choices or ()]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
