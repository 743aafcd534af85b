"""What any recipe of a repo may do: `mlx-publish.yaml`, on top of the repo that holds the recipes.

Without such a file everything is allowed. An empty one asks for pinned revisions already.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from mlx_publish.errors import Fault, Place
from mlx_publish.recipes import patterns
from mlx_publish.recipes.faults import bad_input, joined
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.recipe import Recipe, RepoId, Strict
from mlx_publish.text.numbers import size
from mlx_publish.text.yaml import load_yaml

FILE = "mlx-publish.yaml"
PAGE = "docs/hooks.md"
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?(MB|GB|TB)")
_FACTORS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


def _bytes(value: object) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("size", "a size is a number with MB, GB or TB, such as 100 GB")
    return round(float(match[1]) * _FACTORS[match[2]])


Size = Annotated[int, BeforeValidator(_bytes, json_schema_input_type=str)]
Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class Attested(Strict):
    """Who has to vouch for reviewed evidence: a machine's key, or GitHub for a run of a workflow."""

    signers: Annotated[str, Field(min_length=1, pattern=patterns.INSIDE)] | None = None
    """A list of keys as OpenSSH's allowed signers, in a file beside the policy or below."""
    github: RepoId | None = None
    """The repo whose workflow measures, `OWNER/REPO`."""
    workflow: Annotated[str, Field(pattern=patterns.WORKFLOW)] | None = None
    """With `github`, the workflow that does: `OWNER/REPO/.github/workflows/publish.yml`."""

    @model_validator(mode="after")
    def _names_one_voucher(self) -> Attested:
        if (self.signers is None) == (self.github is None):
            raise PydanticCustomError("attested", "set either signers or github")
        if self.workflow and not self.github:
            raise PydanticCustomError("attested", "workflow requires github, the repo that runs it")
        return self


class PublishRules(Strict):
    """What is asked of a publication."""

    rebuild: bool = False
    """Whether the source is converted once more, into an empty folder, and every digest compared, before it goes out.
    Weights that somebody changed in the work folder, with all that is said of them there, are found by this alone."""


class PolicySpec(Strict):
    """The policy as a file."""

    namespaces: Names | None = None
    """Namespaces of the Hub that recipes may publish to; any where absent."""
    licenses: Names | None = None
    """Identifiers of licences that a published model may have, as the Hub spells them; any where absent."""
    largest_source: Size | None = None
    """How large the files of a source may be, as `100 GB` (1 GB is 10^9 bytes); of any size where absent."""
    pinned: bool = True
    """Whether the revision of a repo has to be a commit, 40 hex digits: a branch moves, and a tag may."""
    folders: bool = True
    """Whether recipes may publish into a folder (`to: folder:PATH`)."""
    sign: Literal["none", "key", "sigstore"] = "none"
    """Whether `upload` adds `model.sig`: by a key, or in the name of the job (sigstore)."""
    attested: Attested | None = None
    """Who has to vouch for evidence before `upload` takes it; nobody if absent."""
    keep_days: Annotated[int, Field(ge=0, le=36500)] | None = None
    """Days since a recipe's last report after which `clean` removes its weights; where absent, jobs keep all."""
    publish: PublishRules = PublishRules.model_construct()
    """What is asked of a publication."""


@dataclass(frozen=True)
class Policy:
    """A policy, and where each of its keys stands."""

    spec: PolicySpec
    place: str = ""
    """The file as it is named in messages; empty if there is none."""
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    def named(self, key: str) -> str:
        """Name the file and the line of a key, for the message of what it forbids."""
        line = self.lines.get(key)
        return f"{key} of {self.place}:{line}" if line else f"{key}, by default,"


EMPTY = Policy(PolicySpec.model_construct())


def find_policy(start: Path) -> Policy | None:
    """Read the policy of the repo that `start` lies in: from there upwards to the folder with `.git`.

    Outside of a repo only `start` itself is looked at. Raises `BadInput` if the file is wrong.
    """
    above = [start, *start.parents]
    root = next((number for number, folder in enumerate(above) if (folder / ".git").exists()), 0)
    path = next((folder / FILE for folder in above[: root + 1] if (folder / FILE).is_file()), None)
    return read_policy(path, os.path.relpath(path, start)) if path else None


def read_policy(path: Path, name: str = "") -> Policy:
    """Read a policy file; messages call it `name`. Raises `BadInput` naming file, line and key."""
    place = name or str(path)
    data, lines = load_yaml(path)
    try:
        return Policy(PolicySpec.model_validate({} if data is None else data), place, lines)
    except ValidationError as error:
        raise bad_input(error.errors(), place, lines, PAGE, PolicySpec) from None


def judge(recipe: Recipe, policy: Policy, flags: Collection[str] = ()) -> None:
    """Raise `BadInput` naming file, line and key of the recipe if it does what the policy forbids."""
    if faults := objections(recipe, policy, flags):
        raise joined(faults)


def objections(recipe: Recipe, policy: Policy, flags: Collection[str] = ()) -> list[Fault]:
    """Return all that the policy forbids of what the recipe says; `flags` are the keys that the command line gave."""
    return list(_objections(recipe, policy, flags))


def shared_destinations(recipe: Recipe, owners: dict[str, Recipe]) -> Iterator[Fault]:
    """Yield destinations that a recipe shares with one of `owners`, to which its own are added.

    Whoever publishes last would replace what the other has published, for both are made from evidence of ours.
    """
    for destination in recipe.destinations.values():
        owner = owners.setdefault(str(destination).casefold(), recipe)
        if owner.place != recipe.place:
            yield _objection(
                recipe, "to", f"{owner.place} also publishes to {destination}", "Give each a separate destination."
            )


def judge_source(recipe: Recipe, policy: Policy, files_bytes: int, licence: str | None) -> None:
    """Raise `BadInput` for what only the source itself tells: how large it is, and the licence that applies."""
    spec = policy.spec
    if spec.largest_source is not None and files_bytes > spec.largest_source:
        message = f"{recipe.source_name} has {size(files_bytes)} of files"
        remedy = f"{policy.named('largest_source')} allows {size(spec.largest_source)}."
        raise joined([_objection(recipe, "source", message, remedy)])
    if not _licensed(licence, policy):
        message = f"the licence is {licence or 'not known'}"
        raise joined([_objection(recipe, "license", message, _allowed(policy, "licenses"))])


def judge_adapter_licence(recipe: Recipe, policy: Policy, licences: Mapping[str, str]) -> None:
    """Raise `BadInput` if the policy forbids a licence that the card of the base, or of the adapter, states."""
    for whose, licence in licences.items():
        if not _licensed(licence, policy):
            message = f"the {whose}'s licence is {json.dumps(licence)[:100]}"
            raise joined([_objection(recipe, "adapter", message, _allowed(policy, "licenses"))])


def judge_licence(licence: str | None, policy: Policy, adapter: str | None = None) -> tuple[str, str] | None:
    """Return message and remedy where the policy forbids a licence, whoever names it; None if it does not.

    `adapter` is the licence of a fused adapter, where its card states one.
    """
    if _licensed(licence, policy) and (adapter is None or _licensed(adapter, policy)):
        return None
    whose, of = ("the licence", licence) if not _licensed(licence, policy) else ("the adapter's licence", adapter)
    # It may be anybody's text.
    named = json.dumps(of)[:100] if of is not None else "not known"
    return f"{whose} is {named}, which the policy does not allow", _allowed(policy, "licenses")


def _objections(recipe: Recipe, policy: Policy, flags: Collection[str]) -> Iterator[Fault]:
    spec, asked = policy.spec, recipe.spec
    if spec.pinned and recipe.source_folder is None and not is_commit(asked.revision):
        remedy = f"Write the commit, 40 hex digits ({policy.named('pinned')} requires it)."
        if recipe.place and "revision" not in flags:
            remedy = f"{remedy} Run: mlx-publish pin {recipe.place}"
        yield _objection(recipe, "revision", _unpinned(asked.revision), remedy, flags)
    repo = asked.adapter is not None and recipe.adapter_folder is None
    if spec.pinned and repo and not is_commit(asked.adapter_revision):
        remedy = f"Write the commit, 40 hex digits ({policy.named('pinned')} requires it)."
        if recipe.place and "adapter_revision" not in flags:
            remedy = f"{remedy} Run: mlx-publish pin {recipe.place}"
        yield _objection(recipe, "adapter_revision", _unpinned(asked.adapter_revision), remedy, flags)
    if asked.license is not None and not _licensed(asked.license, policy):
        yield _objection(
            recipe, "license", f"the licence {asked.license} is not allowed", _allowed(policy, "licenses"), flags
        )
    for message, remedy in _destinations(recipe, policy):
        yield _objection(recipe, "to", message, remedy, flags)


def _unpinned(revision: str | None) -> str:
    """Say why a revision is no commit."""
    if not revision:
        return "no revision is set; recipes here must pin a commit"
    if re.fullmatch("[0-9a-fA-F]{40}", revision):
        return f"'{revision}' has upper-case letters; commits are written in lower case"
    if re.fullmatch("[0-9a-fA-F]{7,39}", revision):
        return f"'{revision}' is a shortened commit; recipes here must give all 40 hex digits"
    return f"'{revision}' is a branch or a tag, which can move; recipes here must pin a commit"


def _destinations(recipe: Recipe, policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield what is wrong and the remedy, each once whatever the number of variants."""
    names = policy.spec.namespaces
    wanted = list(recipe.destinations.values())
    if not policy.spec.folders and any(destination.folder for destination in wanted):
        yield "publishes into a folder", f"Use a repo; {policy.named('folders')} does not allow folders."
    known = {name.casefold() for name in names or ()}
    for namespace in dict.fromkeys(destination.repo.partition("/")[0] for destination in wanted if destination.repo):
        if names is not None and namespace.casefold() not in known:
            yield f"the namespace {namespace} is not allowed", _allowed(policy, "namespaces")


def _licensed(licence: str | None, policy: Policy) -> bool:
    names = policy.spec.licenses
    return names is None or (licence or "").casefold() in {name.casefold() for name in names}


def _allowed(policy: Policy, key: str) -> str:
    return f"{policy.named(key)} allows: {', '.join(getattr(policy.spec, key))}."


def _objection(recipe: Recipe, key: str, message: str, remedy: str, flags: Collection[str] = ()) -> Fault:
    """Return a fault at the key of the recipe, at its source where the key is not written, or at the flag."""
    if not recipe.place or key in flags:
        return Fault(message, Place(f"--{key}"), remedy=remedy)
    return Fault(message, recipe.place_of(key if key in recipe.lines else "source"), key, remedy)
