"""A recipe for a model of the Hub: inspected by its metadata, pinned to a commit, with variants that fit a Mac."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlx_publish.commands._repo_templates import render
from mlx_publish.errors import BadInput, PublishError, Refused
from mlx_publish.evidence.report import Finding
from mlx_publish.github.running_kit import RunningKit
from mlx_publish.hub.repo import RepoFiles, pinned, resolve
from mlx_publish.model.size import estimate_bytes
from mlx_publish.recipes.address import Address, NotAModel, read_address
from mlx_publish.recipes.patterns import REPO, is_commit
from mlx_publish.recipes.policy import Policy, judge, judge_source
from mlx_publish.recipes.read import VARIANT_FLAGS, recipe_from_data, recipe_from_file, recipe_from_flags
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.recipes.write import recipe_lines
from mlx_publish.source.at_a_glance import LICENCE, Glance
from mlx_publish.source.proposal import NOTHING, Beside, Ladder, Proposal, ladder, narrower_groups
from mlx_publish.text.harmless import one_line
from mlx_publish.text.numbers import count, size
from mlx_publish.text.temporary import TemporaryFolder

_PLAIN = re.compile(r"[A-Za-z0-9][\w./{}-]*")
_FITS = "Name a Mac with more --memory, or name the variants yourself: mlx-publish recipe {repo} --variants 3bit"


@dataclass(frozen=True)
class Wish:
    """What a person asks for: a model, where it goes, and the Mac that is to run it."""

    repo: str
    memory: int
    namespace: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    """Keys of the recipe that flags name; they replace what would be proposed."""


@dataclass(frozen=True)
class Proposed:
    """A recipe that can be written, and what was learned on the way."""

    recipe: Recipe
    text: str
    glance: Glance
    ladder: Ladder
    findings: tuple[Finding, ...]

    @property
    def licence(self) -> str | None:
        """The licence that applies; None if nobody names one that can be used."""
        return None if self.lacks_licence else self.glance.licence(self.recipe).id

    @property
    def lacks_licence(self) -> bool:
        """Whether the recipe still needs a licence."""
        return _lacks_licence(self.findings)

    @property
    def summary(self) -> str:
        """Name, type, size and licence in one line."""
        return _summary(self.glance, self.recipe)


def propose(wish: Wish, kit: RunningKit, policy: Policy | None, recipes: Path = Path("recipes")) -> Proposed:
    """Inspect a model's metadata and propose a recipe for it.

    Raises `Refused` with the first failed check, and `BadInput` for what does not exist or what the policy forbids.
    """
    repo, revision = _repo_and_revision(wish)
    given = {key: text for key, text in wish.given.items() if key not in ("source", "revision") and text}
    adapter = _adapter_of(given)
    given |= {"adapter_revision": adapter.commit} if adapter else {}
    glance = Glance(repo, revision if is_commit(revision) else resolve(repo, revision or None), adapter)
    senses = glance.senses()
    if senses and not glance.keeps_senses():
        given = {"modality": "text"} | given
    stem = "{source}-text-MLX-{variant}" if senses and given.get("modality") else "{source}-MLX-{variant}"
    base = {"to": f"{wish.namespace}/{stem}"} | given if wish.namespace else given
    named = {"source": repo, "revision": glance.commit} | base
    beside = NOTHING if given.get("modality") else _beside(glance, senses)
    steps = _named_variants(glance, named, beside) if _names_variants(given) else _variants(glance, wish, beside)
    steps, findings = _judged(glance, named, steps, beside)
    text = _text(glance, named, steps, findings, kit, senses)
    recipe = _read(text, given.get("name") or recipe_from_flags(named).name, recipes)
    if policy:
        judge(recipe, policy)
        if not _lacks_licence(findings):
            judge_source(recipe, policy, glance.files_bytes, glance.licence(recipe).id)
    return Proposed(recipe, text, glance, steps, findings)


def _repo_and_revision(wish: Wish) -> tuple[str, str]:
    """Return repo and revision, also from an address of the Hub."""
    asked = wish.repo.strip()
    remedy = "Write it as namespace/name, or paste its address."
    try:
        address = read_address(asked) or Address(asked)
    except NotAModel as error:
        raise BadInput(one_line(str(error)), place="REPO", remedy=remedy) from None
    if not re.fullmatch(REPO, address.repo):
        raise BadInput(f"'{one_line(asked, 100)}' is not a model on the Hub", place="REPO", remedy=remedy)
    return address.repo, wish.given.get("revision") or address.revision


def _adapter_of(given: Mapping[str, str]) -> RepoFiles | None:
    """Return the adapter that is asked for, where it is a repo; a folder is judged by inspect."""
    named = given.get("adapter", "")
    return RepoFiles(named, pinned(named, given.get("adapter_revision"))) if re.fullmatch(REPO, named) else None


def _beside(glance: Glance, senses: str) -> Beside:
    """Return what is kept beside the language model."""
    return Beside(sum(tower.nbytes for tower in glance.metadata.towers), senses) if senses else NOTHING


def _names_variants(given: Mapping[str, str]) -> bool:
    return bool(set(given) & {"variants", *VARIANT_FLAGS})


def _named_variants(glance: Glance, named: Mapping[str, str], beside: Beside) -> Ladder:
    """Return the variants that flags name."""
    tensors, declared = glance.metadata.language_tensors, glance.metadata.config.dtype
    proposals = []
    for spec in recipe_from_flags(named).variants:
        keys = {key: value for key, value in spec.model_dump(mode="json").items() if value is not None}
        weights = estimate_bytes(tensors, spec, declared) + beside.bytes
        spelled = spec.label if "variants" in named else json.dumps(keys)
        proposals.append(Proposal(spelled, spec, weights, beside.size(weights)))
    return Ladder(tuple(proposals))


def _variants(glance: Glance, wish: Wish, beside: Beside) -> Ladder:
    steps = ladder(glance.metadata.language_tensors, glance.metadata.config.dtype, wish.memory, beside)
    if not steps.proposals:
        raise Refused(
            f"no variant of {glance.repo} fits a Mac with {wish.memory >> 30} GB: {'; '.join(steps.left_out)}",
            check="room",
            remedy=_FITS.format(repo=glance.repo),
        )
    return steps


def _judged(
    glance: Glance, named: Mapping[str, str], steps: Ladder, beside: Beside
) -> tuple[Ladder, tuple[Finding, ...]]:
    """Return the variants that no check refuses, and the findings of the first of them."""
    kept, lost, findings = list[Proposal](), list(steps.left_out), dict[str, tuple[Finding, ...]]()
    for proposal in steps.proposals:
        narrow = narrower_groups(proposal, glance.metadata.language_tensors, glance.metadata.config.dtype, beside)
        for step in filter(None, (proposal, narrow)):
            checks = _findings(glance, named, step)
            failed = _refusal(checks)
            if failed is None:
                kept.append(step)
                findings[step.variant] = checks
                break
            if failed.id != "groups-fit":
                raise Refused(failed.message, check=failed.id, place=glance.repo, remedy=failed.remedy)
        else:
            lost.append(f"{proposal.variant}: its groups do not divide the layers")
    if not kept:
        raise Refused("groups of neither 64 nor 32 divide the layers", check="groups-fit", place=glance.repo)
    return replace(steps, proposals=tuple(kept), left_out=tuple(lost)), findings[kept[0].variant]


def _findings(glance: Glance, named: Mapping[str, str], step: Proposal) -> tuple[Finding, ...]:
    spec = recipe_from_flags({key: text for key, text in named.items() if key not in ("variants", *VARIANT_FLAGS)}).spec
    draft = recipe_from_data(spec.model_dump(exclude_defaults=True) | {"variants": [step.spec.model_dump()]})
    return glance.judge(draft, draft.variants)[draft.variants[0].label]


def _refusal(findings: tuple[Finding, ...]) -> Finding | None:
    """Return the first failure that no key of the recipe can settle."""
    return next((f for f in findings if f.status == "fail" and f.id != LICENCE), None)


def _lacks_licence(findings: tuple[Finding, ...]) -> bool:
    return any(finding.id == LICENCE and finding.status == "fail" for finding in findings)


def _text(
    glance: Glance,
    named: Mapping[str, str],
    steps: Ladder,
    findings: tuple[Finding, ...],
    kit: RunningKit,
    senses: str,
) -> str:
    """Return the recipe as YAML with the reason for each choice beside it."""
    described = {key: text for key, text in named.items() if key not in ("variants", *VARIANT_FLAGS)}
    recipe = recipe_from_flags(described)
    data = recipe.spec.model_dump(mode="json", exclude_defaults=True)
    shown = {"source", "revision", "variants", "to", "modality", "name"}  # the file has the name
    return render(
        "recipe.yaml",
        kit,
        summary=_summary(glance, recipe),
        source=glance.repo,
        commit=glance.commit,
        left_behind=senses if recipe.spec.modality else "",
        kept="" if recipe.spec.modality else senses,
        proposals=steps.proposals,
        left_out=steps.left_out,
        to=recipe.spec.to if _PLAIN.fullmatch(recipe.spec.to) else json.dumps(recipe.spec.to, ensure_ascii=False),
        more="".join(recipe_lines({key: value for key, value in data.items() if key not in shown})),
        no_licence=_lacks_licence(findings),
    )


def _summary(glance: Glance, recipe: Recipe) -> str:
    metadata = glance.metadata
    licence = glance.licence(recipe)
    parts = (
        one_line(str(metadata.config.model_type), 60),
        f"{count(glance.parameters)} parameters{_of_towers(glance, recipe)}",
        f"{size(glance.files_bytes)} of files",
        f"licence {one_line(licence.name or licence.id or 'not named', 60)}",
    )
    return f"{recipe.source_name}: {', '.join(parts)}"


def _of_towers(glance: Glance, recipe: Recipe) -> str:
    """Return how many parameters more are kept of a source that sees or hears."""
    parameters = 0 if recipe.spec.modality else sum(tower.size for tower in glance.metadata.towers)
    return f" and {count(parameters)} for {glance.senses()}" if parameters else ""


def _read(text: str, name: str, recipes: Path) -> Recipe:
    """Return the recipe that a text gives, as if it were a file of that name below `recipes`."""
    with TemporaryFolder("recipe-") as folder:
        path = Path(folder, f"{name}.yaml")
        path.write_text(text, encoding="utf-8")
        try:
            return replace(recipe_from_file(path, elsewhere=True), place=(recipes / f"{name}.yaml").as_posix())
        except PublishError as error:
            raise BadInput(error.message, key=error.key, remedy=error.remedy) from error
