"""Requests of a form, a dispatch or a calling workflow: for a recipe of the repo, or for a source and its variants.

All of it is a stranger's text. Nothing passes with a character that a shell, a path, YAML or a runner reads otherwise,
except in `notes`, which are shown as a person's Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, create_model, model_validator
from pydantic_core import PydanticCustomError

from mlx_publish.errors import BadInput, Fault, Place
from mlx_publish.recipes import patterns
from mlx_publish.recipes.faults import cut, joined, value_message
from mlx_publish.recipes.flags import Asked, Key, keys_of
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.recipe import RecipeSpec, Strict
from mlx_publish.text.nearest import did_you_mean
from mlx_publish.text.yaml import scalar

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PAGE = "docs/request.md"
DISPATCH = "mlx-publish"
"""The type of a repository_dispatch that is ours."""
MOST_KEYS = 10
"""GitHub takes no more of them in a client_payload."""
ALL = "all"
"""Stands in the form for every variant of a recipe; a source has one of 4 bits then."""


def _joined_names(value: object) -> object:
    """Join a list of names; a form has one line for it."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return value


_KEYS = {key.outside: key for key in keys_of(RecipeSpec) if key.asked}
ASKED = {name: key.name for name, key in _KEYS.items()}
"""Keys of a recipe that can be asked for, by their names in a request; the Action's inputs have these names, too."""
_OF_ALL = ("source", "revision", "variants")
"""Those that can be asked for with a recipe, or that find one; the others describe a new recipe."""


class _Rules(Strict):
    """Rules among the keys of a request."""

    @model_validator(mode="after")
    def _fits(self) -> _Rules:
        given = self.model_dump(exclude_none=True)
        if ("recipe" in given) == ("source" in given):
            raise _wrong("recipe", "set exactly one of recipe and source")
        if "recipe" not in given:
            return self
        for key in _KEYS:
            if key in given and key not in _OF_ALL:
                raise _wrong(key, "the recipe sets this already; change it there")
        if "revision" in given and not is_commit(given["revision"]):
            raise _wrong("revision", "must be a commit (40 hex digits)")
        return self


def _wrong(key: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("request", "{reason}", {"reason": message, "key": key})


def _field(key: Key, asked: Asked) -> tuple[Any, Any]:
    """Return type and default of a recipe's key, as a stranger may give it."""
    if not asked.pattern:
        return Annotated[key.annotation | None, asked], None
    kind: Any = str | None
    if key.kind == "list":
        kind = Annotated[str, BeforeValidator(_joined_names, json_schema_input_type=str | list[str])] | None
    elif asked.pattern == patterns.ASKED_TEXT:
        # A form ends its lines with CR and LF.
        unix = BeforeValidator(lambda value: value.replace("\r\n", "\n") if isinstance(value, str) else value)
        kind = Annotated[kind, unix]
    return Annotated[kind, asked], Field(None, pattern=asked.pattern, max_length=asked.max_length)


_RECIPE = Asked(
    "Name of a recipe of the repo, as its file is called without `.yaml`; this or source.",
    form="Name of a recipe, as its file in recipes/ is called; this, or a source",
    call="Name of a recipe in recipes/; this, or a source, or neither where the caller's event says it",
)
_DRY_RUN = Asked("Stop at the card: no pull request.", form="Convert, test and measure, and open no pull request")
_CALLBACK = Asked("Handed back as it is, in the plan and in the pull request: whatever the asker knows the request by.")
_FIELDS: dict[str, Any] = {
    "recipe": (Annotated[str | None, _RECIPE], Field(None, pattern=patterns.NAME, max_length=96)),
    **{name: _field(key, key.asked) for name, key in _KEYS.items() if key.asked},
    "dry_run": (Annotated[bool, _DRY_RUN], False),
    "callback": (Annotated[str | None, _CALLBACK], Field(None, pattern=patterns.ASKED_LINE, max_length=200)),
}
RequestSpec = create_model(
    "Request",
    __base__=_Rules,
    __doc__=(
        "What is asked for, by the keys of `client_payload`; the form and `workflow_call` have the same with hyphens."
    ),
    **_FIELDS,
)


@dataclass(frozen=True)
class Request:
    """A request that passed all rules."""

    recipe: str | None = None
    """Name of a recipe of the repo; None where a source is given."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Values for the recipe, by its own keys: `to`, not `destination`."""
    dry_run: bool = False
    callback: str | None = None

    @property
    def source(self) -> str | None:
        """The source; None where a recipe is named."""
        return self.keys.get("source")

    @property
    def names(self) -> tuple[str, ...]:
        """The variants of the request; empty for all."""
        return tuple(self.keys.get("variants", "").replace(",", " ").split())

    @property
    def flags(self) -> dict[str, str]:
        """The same as flags of the command line; empty where a recipe is asked for."""
        return {key: value for key, value in self.keys.items() if value} if self.source is not None else {}

    def about(self, recipe: str) -> Request:
        """Return the same request for a recipe, as if it had named that, by the same rules."""
        given = {name: self.keys[key] for name, key in ASKED.items() if key in self.keys and key != "source"}
        answered = {"callback": self.callback} if self.callback is not None else {}
        return from_payload({"recipe": recipe, **given, "dry_run": self.dry_run, **answered})


def from_payload(payload: object, place: str = "client_payload") -> Request:
    """Read a `client_payload`. Raises `BadInput` that names each wrong key and what is allowed."""
    if not isinstance(payload, Mapping):
        raise BadInput("is not a JSON object", place=place, remedy=f"See {PAGE} for the schema.")
    if len(payload) > MOST_KEYS:
        raise BadInput(f"has {len(payload)} keys; the limit is {MOST_KEYS}", place=place, remedy=_allowed())
    try:
        given = RequestSpec.model_validate(dict(payload)).model_dump(exclude_none=True)
    except ValidationError as error:
        raise joined([_fault(details, place) for details in error.errors()]) from None
    # A flag has `true` and `4` as JSON has them.
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    keys = {key: texts[name] for name, key in ASKED.items() if name in given}
    return Request(given.get("recipe"), keys, given["dry_run"], given.get("callback"))


def from_form(fields: Mapping[str, object], place: str = "inputs") -> Request:
    """Read the fields of a form, all of them text; empty ones were not filled in. Raises `BadInput` likewise."""
    given: dict[str, object] = {
        str(key).replace("-", "_"): value.strip() if isinstance(value, str) else value
        for key, value in fields.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }
    if given.get("variants") == ALL:
        del given["variants"]
    for name in ("dry_run", *(name for name, key in _KEYS.items() if key.kind == "scalar")):
        text = given.get(name)
        if isinstance(text, str):
            given[name] = scalar(text)
    return from_payload(given, place)


def of_inputs(given: Mapping[str, str]) -> dict[str, str]:
    """Return the Action's inputs that a request has, by the request's names; `given` has them by their flags' names."""
    flags = {name: ASKED.get(name, name) for name in RequestSpec.model_fields}
    return {name: given[flag] for name, flag in flags.items() if given.get(flag)}


def _fault(error: ErrorDetails, place: str) -> Fault:
    """Return the fault of one validation error, with the key and the next step."""
    key = error.get("ctx", {}).get("key") or ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return Fault(f"unknown key{did_you_mean(key, RequestSpec.model_fields)}", Place(place), cut(key), _allowed())
    return Fault(value_message(error), Place(place), cut(key), f"{PAGE} lists the allowed values.")


def _allowed() -> str:
    return f"Allowed keys: {', '.join(RequestSpec.model_fields)}; see {PAGE}."
