"""Where another engine makes something else of a template than jinja2 does, and the construct that is to blame.

FACTS is what came out when 810 constructs were rendered by transformers 5.24 and by the engines of TRIED. What is not
in it was the same there: loops, namespaces, macros with `caller`, slices (`[::-1]` too) and negative indexes, adjacent
strings, `tojson` with its options, `strip()` without an argument, blocks that are trimmed or not, `{{-` and `-%}`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mlx_publish.chat.rendering import Rendered

TRIED = {"minijinja": "3.1.0", "huggingface-jinja": "0.5.11"}
M, H = "minijinja", "huggingface-jinja"
_ENDS = {"{{": "}}", "{%": "%}", "{#": "#}"}
_EXCERPT = 30  # characters
_LOOKED_AT = 200_000  # characters of a template


class Fact(NamedTuple):
    """An engine's own way with a construct.

    `symptom` matches the engine's error, or "REFUSED" and the text of raise_exception, or "TEXT" and what the engine
    wrote, a null character and what jinja2 wrote. `where` matches the construct in the tags of a template. NAME is the
    group `name` of `symptom`, else that of `where`.
    """

    engine: str
    symptom: str
    where: str
    construct: str
    instead: str = ""


@dataclass(frozen=True)
class Difference:
    """A probe that an engine renders otherwise. `construct` is "" and `line` 0 where they are not known."""

    probe: str
    engine: str
    message: str
    construct: str
    line: int
    remedy: str


FACTS = (
    # Errors that give a name.
    Fact("", r"REFUSED(?P<name>.{1,20})", r"raise_exception\(\s*['\"]NAME", "the refusal 'NAME...'"),
    Fact("", r"[Uu]nknown (?:\w+ )?filter: (?:filter )?(?P<name>\w+)", r"\|\s*NAME\b", "the filter |NAME"),
    Fact(H, r'Cannot apply filter "(?P<name>\w+)"', r"\|\s*NAME\b", "the filter |NAME of this value"),
    Fact("", r"[Uu]nknown test: (?:test )?(?P<name>\S+)", r"(?:\bis\s+(?:not\s+)?|['\"])NAME(?!\w)", "the test `NAME`"),
    Fact(M, r"unknown function: (?P<name>\w+)", r"\bNAME\s*\(", "the function NAME()"),
    Fact(M, r"unknown method: .* named (?P<name>\w+)", r"\.NAME\s*\(", "the method .NAME()"),
    Fact("", r"(?:syntax error: u|U)nknown statement (?:type: )?(?P<name>\w+)", r"\{%[-+]?\s*NAME\b", "{% NAME %}"),
    Fact(H, r"Unexpected escaped character: (?P<name>.)", r"\\NAME", r"the escape \NAME in a string"),
    Fact(H, r"arguments of `(?P<name>\w+)` must be str", r"\|\s*NAME\s*\(", "|NAME with a non-string argument"),
    # Operators.
    Fact("", r'.*(?:tried to use % operator|Unknown operator "%" between Str)', r"['\"]\s*%\s*[\w('\"]",
         "string formatting with %", "Join with ~."),
    Fact(H, r'Unknown operator "(?P<name>[^"%]+)"', r"\s?NAME\s?", "the operator NAME between these values"),
    Fact(H, r"Cannot perform operation (?P<name>\S+) on undef", r"NAME", "the operator NAME with an undefined value"),
    Fact(H, r"Cannot perform operation on null", "", "an operator with none", "Ask `is not none` first."),
    # Calls.
    Fact(H, r"Cannot call something that is not a function",
         r"\.(?P<name>(?!(?:upper|lower|[lr]?strip|title|capitalize|startswith|endswith|split|replace|get|items|keys"
         r"|values|dictsort)\b)[a-z]\w*)\s*\(", "the method .NAME()"),
    Fact(H, r"Cannot call something that is not a function", r"(?<![\w.|])(?P<name>dict|cycler|joiner|lipsum)\s*\(",
         "the function NAME()"),
    Fact(H, r"`map` expressions without", r"\|\s*map\(\s*['\"]", "|map without attribute=", "Loop over the values."),
    Fact(M, r"too many arguments: unexpected keyword", r"\|\s*d(?:efault)?\([^)]{0,99}boolean\s*=",
         "|default(boolean=...)", "Write |default(value, true)."),
    Fact(M, r"too many arguments", r"\bnamespace\([^=,)]{1,99},", "namespace() of a mapping and names", "Name all."),
    Fact(M, r"too many arguments", r"\b(?P<name>varargs|kwargs)\b", "NAME in a macro", "Name the arguments."),
    Fact(M, r"too many arguments", r"\|\s*(?P<name>truncate|wordwrap)\(\s*\d", "|NAME with an unnamed argument"),
    Fact(M, r"invalid operation: invalid (?:float|digit)", r"\|\s*(?P<name>int|float)\b", "|NAME of another text"),
    # Syntax.
    Fact(H, r"Parser Error: .*(?:NumericLiteral|StringLiteral|Open\w+) !==",
         r"\bis\s+(?:not\s+)?(?P<name>\w+)\s*[\d(\['\"]", "the test `is NAME` with an argument", "Use an operator."),
    Fact(H, r"Parser Error: .*Identifier !== CloseStatement", r"\brecursive\b", "{% for ... recursive %}"),
    Fact(H, r"Unexpected token: CloseParen", r"(?<![\w)\]])\(\s*\)|,\s*\)", "a tuple of none or one", "Write a list."),
    Fact(H, r"Invalid LHS inside", r"\{%-?\s*set\s+\w+\s*\|", "{% set ... | filter %}", "Filter where it is used."),
    # Values.
    Fact(H, r"Expected iterable .* got String", r"\{%-?\s*for\b", "a loop over a string"),
    Fact(H, r"Expected iterable .* got (?:Und|Null)", r"\{%-?\s*for\b", "a loop over an undefined value"),
    Fact(H, r"Object keys must be strings", r"[{,]\s*\d+\s*:", "a mapping with keys that are no strings"),
    Fact(H, r"Cannot (?:unpack .*|convert to JSON): TupleValue", "", "a tuple that is printed or looped over"),
    Fact(H, r"Cannot compare type: Array", r"\|\s*sort\b", "|sort of pairs", "Use |dictsort."),
    Fact(H, r"Cannot read properties of undefined", r"\|\s*(?P<name>first|last)\b", "|NAME of an empty list"),
    # They render what jinja2 does not.
    Fact(M, r"jinja2 says.*'NoneType' object is not iterable", r"\{%-?\s*for\b", "a loop over none"),
    Fact("", r"jinja2 says.*has no len\(\)", r"\|\s*(?P<name>select\w*|reject\w*|map)\b", "|length after |NAME"),
    Fact("", r"jinja2 says.*(?:is undefined|has no attribute)", "", "an attribute of an undefined value"),
    Fact("", r"jinja2 says.*not JSON serializable", r"\|\s*tojson\b", "|tojson of an undefined value"),
    Fact(H, r"jinja2 says.*concatenate", r"\+", "+ between a string and another value", "Use ~."),
    # They write something else, and it shows what.
    Fact(H, r"TEXT(?:true|false).*\0(?:True|False)", "", "a printed boolean", "Use |tojson or an if."),
    Fact(H, r"TEXT[^\0]*\0None", "", "a printed none"),
    Fact(H, r"TEXT\[?object Map\]", r"~|\bjoin\b", "a mapping joined to a text", "Use |tojson."),
    Fact(H, r"TEXT[\"\[{].*\0['({d]", "", "a printed list or mapping, which it writes as JSON", "Use |tojson."),
    Fact(H, r"TEXT%.*\0", r"strftime_now\(\s*['\"][^'\"]{0,99}?(?P<name>%(?![YmdbBHM%])-?\w)",
         "strftime_now with NAME"),
    Fact("", r"TEXT(?!\.)[^\0]*\0\.0", "", "a whole number with a point, as 1.0"),
    # They write something else, for one of these reasons.
    Fact("", r"TEXT", r"\r\n", r"lines that end in \r\n", r"Save the template with \n."),
    Fact("", r"TEXT", r"\.(?P<name>items|keys|values|get|copy|pop)\b(?!\s*\()", ".NAME of a mapping, its key or method",
         "Write the key in brackets."),
    Fact(H, r"TEXT", r"\.(?P<name>[lr]?strip)\(\s*[^)\s]", "the method .NAME(chars), which takes any white space"),
    Fact(H, r"TEXT", r"[.|]\s*(?P<name>title|capitalize)\b", "NAME, which leaves the other letters as they are"),
    Fact(H, r"TEXT", r"\{%[-+]?\s*(?P<name>break|continue)\b", "{% NAME %}, which drops what its turn wrote"),
    Fact(H, r"TEXT", r"selectattr\([^)]{0,99}undefined", "selectattr with the test `undefined`"),
    Fact(H, r"TEXT", r"[=!]=\s*[\[{]", "a list or mapping compared by =="),
    Fact(H, r"TEXT", r"[=!]=\s*(?P<name>[nN]one|[tT]rue|[fF]alse|''|\"\")", "== NAME, which undefined and 0 may equal"),
    Fact(H, r"TEXT", r"\{%-?\s*for\b(?:(?!endfor).){0,499}?\{%-?\s*set\s+(?P<name>\w+)\s*=",
         "{% set NAME %} in a loop, which the next turn sees"),
    Fact(M, r"TEXT", r"\.title\(\)", "the method .title(), for letters after an apostrophe", "Use |title."),
    Fact(M, r"TEXT", r"\bmacro\s+\w+\([^)]{0,999}=\s*(?!true|false|none|True|False|None)[a-z_]",
         "a macro's default that names another argument"),
    Fact("", r"TEXT", r"\bis\s+(?:not\s+)?(?P<name>sequence|iterable)\b", "the test `is NAME` of this value"),
    Fact(M, r"TEXT", r"\.(?P<name>items|keys|values)\(\)\s*\}\}", "a printed .NAME()"),
    Fact(M, r"TEXT", r"\{%-?\s*raw\b", "{% raw %}, which takes the newline after it"),
)  # fmt: skip


def differences(
    ours: Mapping[str, Rendered], theirs: Mapping[str, Rendered], template: str, engine: str
) -> list[Difference]:
    """Return where jinja2 and `engine` render `template` differently, both given by the probe's name.

    A text counts where it is another one, an error if the other side has none; what was not reached does not count.
    """
    tags, differing = _tags(template[:_LOOKED_AT]), list[Difference]()
    for probe, answer in theirs.items():
        if (compared := _compared(ours[probe], answer)) is not None:
            message, symptom = compared
            # The line that the side names which failed; 0 where it names none.
            blamed = _blamed(symptom, tags, engine, ours[probe].line or answer.line)
            differing.append(Difference(probe, engine, message, *blamed))
    return differing


def _tags(template: str) -> str:
    """Return the tags of a template at their places, with blanks for all other characters."""
    kept, opened = [], ""
    for part in re.split(r"(\{[{%#]|[}%#]\})", template):
        opened = opened or (part if part in _ENDS else "")
        kept.append(part if opened in ("{{", "{%") else re.sub(r"[^\r\n]", " ", part))
        opened = "" if part == _ENDS.get(opened) else opened
    return "".join(kept)


def _compared(ours: Rendered, theirs: Rendered) -> tuple[str, str] | None:
    """Return how they differ, for people and for FACTS; None if they do not or where that is not known."""
    if "not-reached" in (ours.kind, theirs.kind) or ours.text is theirs.text is None:
        return None
    if ours.text is None:
        return f"renders it; jinja2 says: {ours.error}", f"jinja2 says {ours.error}"
    if theirs.text is None:
        return f"says: {theirs.error}", f"{'REFUSED' if theirs.kind == 'refused' else ''}{theirs.error}"
    if ours.text == theirs.text:
        return None
    # Behind both stands what is in neither, for the case that one is the beginning of the other.
    pairs = zip(ours.text + "\0", theirs.text + "\1", strict=False)
    start = next(at for at, (our, their) in enumerate(pairs) if our != their)
    we, they = (text[start : start + _EXCERPT] for text in (ours.text, theirs.text))
    return f"writes {they!r} in place of {we!r} at character {start}", f"TEXT{they}\0{we}"


def _blamed(symptom: str, tags: str, engine: str, line: int) -> tuple[str, int, str]:
    """Return the constructs to blame, or suspects where the symptom shows none, and line and remedy of the first."""
    places = [place for fact in FACTS if fact.engine in (engine, "") for place in _places(fact, symptom, tags, line)]
    if places := [place for place in places if place[0].symptom != "TEXT"] or places:
        constructs = dict.fromkeys(construct for _, construct, _ in places)
        return " or ".join([*constructs][:3]), places[0][2], places[0][0].instead
    there = tags.splitlines()[line - 1 : line] if line else []
    return there[0].strip()[:80] if there else "", line, ""


def _places(fact: Fact, symptom: str, tags: str, line: int) -> Iterator[tuple[Fact, str, int]]:
    """Yield the constructs of a fact in the template; only those of the line that the engine names, if any."""
    if (match := re.match(fact.symptom, symptom, re.DOTALL)) is None:
        return
    name = match.groupdict().get("name")
    where = fact.where.replace("NAME", re.escape(name or ""))
    hits = list(itertools.islice(re.finditer(where, tags, re.DOTALL), 999)) if where else []
    lines = [1 + tags.count("\n", 0, hit.start()) for hit in hits]
    for hit, at in zip(hits, lines, strict=True):
        if line not in lines or at == line:
            yield fact, fact.construct.replace("NAME", name or hit.groupdict().get("name", "")), at
    if not hits and (name or not fact.where):
        yield fact, fact.construct.replace("NAME", name or ""), line
