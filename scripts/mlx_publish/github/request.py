"""What a form, a dispatch or a calling workflow asks for: a recipe of the repo, or a source and what to make of it.

All of it is a stranger's text. What is let through here has no character that a shell, a path, YAML or a runner reads
otherwise, but for `notes`, which are shown as a person's Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from mlx_publish.errors import BadInput
from mlx_publish.recipes import patterns
from mlx_publish.recipes.faults import cut, joined, said
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.recipe import Strict
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


def _one_text(value: object) -> object:
    """Join a list of names; a form has one line for it."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return value


def _lines(value: object) -> object:
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


Names = Annotated[str, BeforeValidator(_one_text, json_schema_input_type=str | list[str])]


class Request(Strict):
    """What is asked for, by the keys of `client_payload`; the form and `workflow_call` have the same with hyphens."""

    recipe: str | None = Field(None, pattern=patterns.NAME, max_length=96)
    """Name of a recipe of the repo, as its file is called without `.yaml`; this or source."""
    source: str | None = Field(None, pattern=patterns.ASKED_REPO, max_length=96)
    """A repo of the Hub as `namespace/name`. Without a destination the recipe that has this source is meant; with one
    the pull request brings a new recipe."""
    revision: str | None = Field(None, pattern=patterns.ASKED_REVISION, max_length=100)
    """Commit, tag or branch of the source; with a recipe the commit that it is to be pinned to from now on."""
    variants: Names | None = Field(None, pattern=patterns.ASKED_VARIANTS, max_length=200)
    """Short names as `4bit,8bit`, or a list of them; with a recipe those of its variants that are wanted."""
    destination: str | None = Field(None, pattern=patterns.ASKED_DESTINATION, max_length=120)
    """`namespace/name` on the Hub, in which `{source}`, `{variant}` and `{bits}` may stand; needed with a source that
    no recipe has."""
    modality: Literal["text"] | None = None
    """`text` publishes the text part alone of a source that takes images or sound, too; only with source."""
    notes: Annotated[str | None, BeforeValidator(_lines)] = Field(None, pattern=patterns.ASKED_TEXT, max_length=20000)
    """Words for the card, in Markdown; only with source."""
    dry_run: bool = False
    """Stop at the card: no pull request."""
    callback: str | None = Field(None, pattern=patterns.ASKED_LINE, max_length=200)
    """Handed back as it is, in the plan and in the pull request: whatever the asker knows the request by."""

    @model_validator(mode="after")
    def _fits(self) -> Request:
        if (self.recipe is None) == (self.source is None):
            raise _wrong("recipe", "exactly one of recipe and source is to be given")
        if self.recipe is not None:
            self._fits_recipe()
        return self

    def _fits_recipe(self) -> None:
        for key in ("destination", "modality", "notes"):
            if getattr(self, key) is not None:
                raise _wrong(key, "the recipe says this already; change it there")
        if self.revision is not None and not is_commit(self.revision):
            raise _wrong("revision", "a recipe is pinned to a commit, 40 hex digits")

    @property
    def names(self) -> tuple[str, ...]:
        """The variants that are asked for; none where all are."""
        return tuple((self.variants or "").replace(",", " ").split())

    @property
    def flags(self) -> dict[str, str]:
        """The same as flags of the command line; empty where a recipe is asked for."""
        if self.source is None:
            return {}
        given = {
            "source": self.source, "revision": self.revision, "variants": self.variants, "to": self.destination,
            "modality": self.modality, "notes": self.notes,
        }  # fmt: skip
        return {key: value for key, value in given.items() if value}


def _wrong(key: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("request", "{reason}", {"reason": message, "key": key})


def from_payload(payload: object, place: str = "client_payload") -> Request:
    """Read a `client_payload`. Raises `BadInput` that names each wrong key and what is allowed."""
    if not isinstance(payload, Mapping):
        raise BadInput("is no JSON object", place=place, remedy=f"{PAGE} has its schema.")
    if len(payload) > MOST_KEYS:
        raise BadInput(f"has {len(payload)} keys, {MOST_KEYS} are the most", place=place, remedy=_allowed())
    try:
        return Request.model_validate(dict(payload))
    except ValidationError as error:
        raise joined([_bad_input(one, place) for one in error.errors()]) from None


def from_form(fields: Mapping[str, Any], place: str = "inputs") -> Request:
    """Read the fields of a form, all of them text; empty ones were not filled in. Raises `BadInput` likewise."""
    given = {
        str(key).replace("-", "_"): value.strip() if isinstance(value, str) else value
        for key, value in fields.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }
    if given.get("variants") == ALL:
        del given["variants"]
    if isinstance(given.get("dry_run"), str):
        given["dry_run"] = scalar(given["dry_run"])
    return from_payload(given, place)


def _bad_input(error: ErrorDetails, place: str) -> BadInput:
    key = error.get("ctx", {}).get("key") or ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return BadInput("this key is not known", place=place, key=cut(key), remedy=_allowed())
    return BadInput(said(error), place=place, key=cut(key), remedy=f"{PAGE} says what is allowed.")


def _allowed() -> str:
    return f"Allowed are {', '.join(Request.model_fields)}; {PAGE} says what they mean."
