"""What a chat template reads besides what every caller gives: its options, switches for thinking, slips of the pen.

Nothing that a template says is computed here, but parsing alone may take minutes: call `reads` and `read_by` in the
child process of this room only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, cast

from jinja2 import nodes
from jinja2.meta import TrackingCodeGenerator

from mlx_publish.chat.sandbox import Sandbox

GIVEN = frozenset(
    ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token", "unk_token", "sep_token",
     "pad_token", "cls_token", "mask_token")
)  # fmt: skip
# Options of apply_chat_template and those that the cards of models document, so reading them is no slip of the pen.
OPTIONS = frozenset(
    """enable_thinking thinking thinking_budget thinking_mode thinking_effort thinking_option reasoning reasoning_effort
    reasoning_budget reasoning_options reasoning_mode reasoning_strategy low_effort force_reasoning skip_think
    skip_thinking keep_all_reasoning keep_past_thinking preserve_thinking clear_thinking truncate_history_thinking
    skip_reasoning_content include_thinking builtin_tools custom_tools python_tools xml_tools available_tools
    tool_choice tool_choice_name parallel_tool_calls tools_in_user_message tool_use functions function_call tool_outputs
    tools_ts_str response_format response_schema json_schema json_mode json_object schema structured_output
    enable_citations citation_mode citations grounding grounding_mode controls knobs safety_mode safety_instructions
    developer_instruction developer_instructions custom_instructions platform_instruction_override
    date_string current_date date today datetime continue_final_message return_assistant_tokens_mask model_identity
    role_identity add_vision_id add_audio_id chat_template_kwargs additional_context additionalContext
    default_system_prompt default_system_message system_prompt system_message instruction query guideline categories
    custom_categories excluded_category_keys guardian_config criteria_id custom_criteria risk_name deliberation
    template examples document is_training language source_language target_language source_lang_code
    target_lang_code""".split()  # noqa: SIM905  a list of words reads better so
)
SWITCH = "enable_thinking"
_ALIKE = 0.88  # of 1: how much two names have in common where one is the other misspelt
_THINKING = re.compile(r"think|reason|effort|deliberat")
_NUMBER, _LEVEL, _WORD = (
    re.compile(r"budget|tokens|length"),
    re.compile(r"effort|level"),
    re.compile(r"mode|option|type"),
)
_MOST_NAMES, _MOST_VALUES = 8, 8
MOST_SETTINGS, MOST_WORDS = _MOST_NAMES * _MOST_VALUES, 32
_LONG, _LARGE = 40, 10**6  # characters of a name or a word, and a number, that a switch may have
_LONGEST = 500_000  # characters of a template
_NEVER = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Reads:
    """What one template reads and no caller is bound to give."""

    variables: frozenset[str] = frozenset()
    """Names that it looks up and sets nowhere, as enable_thinking."""
    bare: frozenset[str] = frozenset()
    """Those among them that it takes for given: a slip of the pen, if nobody gives them."""
    switches: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Names that sound of thinking, apart from `enable_thinking`, each with the values that are worth a try."""
    words: tuple[str, ...] = ()
    """Texts that it compares something with, and so may wait for."""

    @property
    def settings(self) -> tuple[tuple[str, Any], ...]:
        """Return each switch with each of its values."""
        return tuple((name, value) for name, values in self.switches.items() for value in values)

    def to_json(self) -> dict[str, object]:
        """Return plain data, for the way out of the child."""
        return {
            "variables": sorted(self.variables),
            "bare": sorted(self.bare),
            "words": list(self.words),
            "switches": {name: list(values) for name, values in self.switches.items()},
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> Reads:
        """Return the record of which `to_json` made the data."""
        switches = {name: tuple(values) for name, values in data["switches"].items()}
        return cls(frozenset(data["variables"]), frozenset(data["bare"]), switches, tuple(data["words"]))


def read_by(templates: Sequence[str]) -> Reads:
    """Return what all templates of a model read, taken together."""
    each = [reads(text) for text in templates]
    return Reads(
        frozenset(name for own in each for name in own.variables),
        frozenset(name for own in each for name in own.bare),
        {name: values for own in reversed(each) for name, values in own.switches.items()},
        tuple(dict.fromkeys(word for own in each for word in own.words))[:MOST_WORDS],
    )


def reads(template: str) -> Reads:
    """Return what a template reads, by its syntax; nothing if it cannot be parsed or is larger than any real one."""
    if len(template) > _LONGEST:
        return Reads()
    try:
        return _read(template)
    except Exception:  # noqa: BLE001  rendering says what is wrong with it
        return Reads()


def _read(template: str) -> Reads:
    reader = _Reader(sandbox := Sandbox(_NEVER))
    reader.visit(tree := sandbox.parse(template))
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    assigned, offered = _assigned(tree), _offered(tree)
    looked_up = reader.undeclared_identifiers - GIVEN - macros
    # A slip of the pen is used unasked, or merely asked for and spelt almost like another name.
    known = assigned | macros | GIVEN | OPTIONS
    bare = {
        name
        for name in looked_up - assigned - offered
        if difflib.get_close_matches(name, known - {name}, 1, _ALIKE) or any(_uses(name, tree))
    }
    # What a loop sets for each message anew is no option of the whole dialogue.
    turned = {name for loop in tree.find_all(nodes.For) for name in _assigned(loop)}
    options = sorted(looked_up - (assigned - offered) - turned - {SWITCH})
    # Texts that it compares with, looks for, or hands to a method or test, as `startswith`.
    asking = tree.find_all((nodes.Compare, nodes.Call, nodes.Test))
    texts = (const.value for node in asking for const in node.find_all(nodes.Const) if isinstance(const.value, str))
    words = [text for text in texts if 0 < len(text) <= _LONG]
    switches = [name for name in options if _THINKING.search(name) and len(name) <= _LONG]
    return Reads(
        frozenset(looked_up - assigned),
        frozenset(bare),
        {name: _values(name, tree) for name in switches[:_MOST_NAMES]},
        tuple(words),
    )


def _assigned(tree: nodes.Node) -> set[str]:
    """Return the names that a template sets, on any path."""
    sets = tree.find_all((nodes.Assign, nodes.AssignBlock))
    return {name.name for node in sets for name in node.find_all(nodes.Name) if name.ctx == "store"}


def _offered(tree: nodes.Template) -> set[str]:
    """Return the names that a template asks for by `is defined`, or gives a default."""
    tests = (test.node for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined"))
    defaults = (filter_.node for filter_ in tree.find_all(nodes.Filter) if filter_.name in ("default", "d"))
    return {node.name for node in (*tests, *defaults) if isinstance(node, nodes.Name)}


def _uses(name: str, node: nodes.Node) -> Iterator[bool]:
    """Yield True for each use of a name that neither asks for it nor stands behind such a question."""
    if isinstance(node, nodes.Name):
        if node.name == name and node.ctx == "load":
            yield True
        return
    for child in node.iter_child_nodes():
        if not _asks(name, node, child):
            yield from _uses(name, child)


def _asks(name: str, node: nodes.Node, child: nodes.Node) -> bool:
    """Return whether `child` of `node` asks for the name, or stands behind that question."""
    if isinstance(node, (nodes.If, nodes.CondExpr)):
        return _named(name, node.test) and (child is node.test or child is not getattr(node, "expr2", None))
    if isinstance(node, nodes.And) and _named(name, node.left):
        return True
    if isinstance(node, nodes.For):
        return child is node.test and _named(name, child)
    return isinstance(node, (nodes.Or, nodes.Not, nodes.And)) and _named(name, child)


def _named(name: str, node: nodes.Node) -> bool:
    """Return whether an expression asks for a name: it is there, or compared, and nothing is made of it."""
    if isinstance(node, nodes.Name):
        return node.name == name
    if isinstance(node, (nodes.Test, nodes.Not)):
        return _named(name, node.node)
    if isinstance(node, (nodes.And, nodes.Or)):
        return _named(name, node.left) or _named(name, node.right)
    sides = (node.expr, *(operand.expr for operand in node.ops)) if isinstance(node, nodes.Compare) else ()
    return any(_named(name, side) for side in sides)


def _values(name: str, tree: nodes.Template) -> tuple[Any, ...]:
    """Return what a switch may be set to: what the template compares it with, else what such a name usually takes."""
    constants = list(_constants(name, tree))
    words = [value for value in constants if isinstance(value, str) and 0 < len(value) <= _LONG]
    if _NUMBER.search(name):
        numbers = [value for value in constants if type(value) is int and abs(value) < _LARGE]
        usual: list[Any] = [*numbers, 0, 512]
    elif _LEVEL.search(name) or words:
        usual = [*words, *(("low", "high") if len(words) < 2 else ())]
    elif _WORD.search(name):
        usual = ["on", "off", "enabled", "disabled"]
    else:
        usual = [True, False]
    return tuple(dict.fromkeys(usual))[:_MOST_VALUES]


def _constants(name: str, tree: nodes.Template) -> Iterator[Any]:
    """Yield what a template compares a name with, or puts in its place where it is absent."""
    for node in tree.find_all((nodes.Compare, nodes.Filter)):
        if isinstance(node, nodes.Compare):
            if any(inner.name == name for inner in node.expr.find_all(nodes.Name)) or _named(name, node.expr):
                yield from (const.value for operand in node.ops for const in _within(operand.expr))
        elif isinstance(filtered := cast("nodes.Filter", node).node, nodes.Name) and filtered.name == name:
            yield from (const.value for arg in cast("nodes.Filter", node).args for const in _within(arg))


def _within(node: nodes.Node) -> Iterator[nodes.Const]:
    if isinstance(node, nodes.Const):
        yield node
    yield from node.find_all(nodes.Const)


class _Reader(TrackingCodeGenerator):
    """Follows the scopes of a template without computing its constants, which may be as large as it likes."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self.optimizer = None

    def _output_child_to_const(self, *_: Any) -> str:
        raise nodes.Impossible

    def visit_EvalContextModifier(self, node: nodes.EvalContextModifier, frame: Any) -> None:  # noqa: N802
        for option in node.options:
            self.visit(option.value, frame)
