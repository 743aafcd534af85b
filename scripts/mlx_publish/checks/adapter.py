"""An adapter that is fused into the source: whether it can be, whether it is this source's, and whose words apply."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.checks.licence import licence_of
from mlx_publish.errors import Refused
from mlx_publish.model.adapter_config import CONFIG, AdapterConfig, read_adapter_config
from mlx_publish.model.adapter_values import some
from mlx_publish.model.card import PERMISSIVE
from mlx_publish.model.files import read_json_file
from mlx_publish.model.fused_files import FusedFiles
from mlx_publish.model.names import shown
from mlx_publish.recipes.patterns import LICENCE, REPO, is_commit
from mlx_publish.recipes.recipe import Recipe


def adapter_instead(facts: SourceFacts) -> Says | None:
    """Refuse a source that is an adapter without weights of its own, with what to write; None for any other source."""
    source = facts.source
    if CONFIG not in source.entries or any(path in source.entries for path in source.weights):
        return None
    try:
        base = read_adapter_config(read_json_file(source.files, CONFIG), source.entries).base
    except Refused as error:
        return failed(f"the source is an adapter, not a model, and none that can be fused: {error}", error.remedy)
    named = base if base and re.fullmatch(REPO, base) else "<the model that it was trained on>"
    return failed(
        f"the source is an adapter, not a model{f'; its base is {named}' if named == base else ''}",
        f"Write 'source: {named}' and 'adapter: {shown(facts.recipe.spec.source, 200)}' into the recipe.",
    )


def _is_fused(facts: SourceFacts) -> bool:
    return isinstance(facts.source.files, FusedFiles)


def _fused(facts: SourceFacts) -> FusedFiles:
    if not isinstance(facts.source.files, FusedFiles):
        raise TypeError("asked of a source without an adapter")
    return facts.source.files


def _form(facts: SourceFacts) -> Says:
    files = _fused(facts)
    config = files.config
    return passed(f"{_NAMES[config.kind]} of {'PEFT' if config.maker == 'peft' else 'mlx-lm'}")


_NAMES = {"lora": "LoRA", "dora": "DoRA", "full": "whole parameters"}


def _base(facts: SourceFacts) -> Says:
    files = _fused(facts)
    config, recipe = files.config, facts.recipe
    if config.base is None:
        return warned("the adapter does not say which model it was trained on", "Make sure that it is the source.")
    # Of a path the evidence keeps a name, and nothing else of another machine.
    named = shown(config.base if re.fullmatch(REPO, config.base) else PurePosixPath(config.base).name, 200)
    if not _is_base(config.base, recipe):
        if not re.fullmatch(REPO, config.base) or (recipe.source_folder and not recipe.spec.base_model):
            return warned(
                f"the adapter was trained on {named}, and whether that is the source cannot be known of a folder",
                "Make sure that it is the source; 'base_model' in the recipe says which repo it is.",
            )
        return failed(
            f"the adapter was trained on {named}, and the source is {_named(recipe)}",
            f"Set 'source: {named}', or accept 'adapter-base' with the reason for which both have the same weights.",
        )
    return _revision_of_base(config, facts) or passed(f"the adapter was trained on {named}")


def _is_base(base: str, recipe: Recipe) -> bool:
    """Return whether the source is the model that an adapter names, by its repo, or a folder by its last part."""
    known = {recipe.spec.source, recipe.spec.base_model} if recipe.source_folder is None else {recipe.spec.base_model}
    if base.casefold() in {name.casefold() for name in known if name}:
        return True
    return recipe.source_folder is not None and PurePosixPath(base).name.casefold() == recipe.source_name.casefold()


def _named(recipe: Recipe) -> str:
    return f"the folder {recipe.source_name}" if recipe.source_folder else recipe.spec.source


def _revision_of_base(config: AdapterConfig, facts: SourceFacts) -> Says | None:
    """Judge the revision of the base that an adapter names; None where it names none, or this one."""
    if config.revision is None or facts.recipe.source_folder or facts.identity is None:
        return None
    if config.revision in (facts.identity, facts.recipe.spec.revision):
        return None
    named = shown(config.revision, 100)
    if is_commit(config.revision):
        return failed(
            f"the adapter was trained on commit {named} of its base, and the source is at {facts.identity}",
            f"Set 'revision: {named}', or accept 'adapter-base' with a reason.",
        )
    return warned(
        f"the adapter was trained on the revision {named} of its base, and the source is at {facts.identity[:12]}",
        "Make sure that both have the same weights.",
    )


def _placed(facts: SourceFacts) -> Says:
    fusing = _fused(facts).fusing
    if why := facts.adapter():
        return failed(why, "Set 'source' to the model that the adapter was trained on.")
    if lacks := _fused(facts).lacking:
        named = ", ".join(shown(name, 200) for name in lacks[:3])
        more = f" and {len(lacks) - 3:,} more" if len(lacks) > 3 else ""
        return warned(
            f"adapter_config.json names {named}{more}, of which the adapter has no tensors; "
            "there the base stays as it is",
            "Compare the adapter with what its training saved, if it should have them.",
        )
    ranks = f" of rank {' to '.join(map(str, dict.fromkeys(fusing.ranks)))}" if fusing.ranks else ""
    told = "".join(f"; config.json gets {key} {value}" for key, value in fusing.config.items())
    return passed(f"all {fusing.placed:,} tensors{ranks} have their places in {len(fusing.changes):,} weights{told}")


def _numbers(facts: SourceFacts) -> Says:
    files = _fused(facts)
    if broken := some(files.values.not_finite()):
        named = ", ".join(shown(name, 200) for name in broken)
        return failed(f"the adapter holds NaN or infinity, as in {named}", "Take an earlier state of its training.")
    if _adds_nothing(files):
        return warned("the adapter adds nothing: each of its matrices has a scale of 0 (lora_alpha)")
    if files.values.all_zero(("lora_B", "lora_embedding_B", "lora_b")):
        return warned("the adapter was not trained: what it adds is zero everywhere")
    return passed("all numbers of the adapter are finite")


def _adds_nothing(files: FusedFiles) -> bool:
    """Return whether an adapter consists of products of matrices alone, whose scales are all zero."""
    changes = files.fusing.changes
    scales = [update.scale for change in changes for update in change.updates]
    others = any(change.instead or change.rows_of or change.magnitude for change in changes)
    return bool(scales) and not any(scales) and not others


def _tokenizer(facts: SourceFacts) -> Says:
    files = _fused(facts)
    own = files.tokenizer
    others = [path for path in own if path not in files.base.entries or files.base.read(path) != files.read(path)]
    if not others:
        return passed("the tokenizer is the base's")
    what = "tokenizer" if set(others) - {"chat_template.jinja"} else "chat template"
    return warned(
        f"the {what} is the adapter's, which it was trained with; not the base's are {', '.join(map(shown, others))}"
    )


def _revision(facts: SourceFacts) -> Says:
    files = _fused(facts)
    spec, commit = facts.recipe.spec, getattr(files.adapter, "commit", None)
    if commit is None:
        return passed("the adapter's files are identified by their digests")
    if spec.adapter_revision == commit:
        return passed(f"pinned to commit {commit}")
    named = spec.adapter_revision or "the default branch"
    return warned(f"{named} of the adapter is commit {commit} today and may move", f"Add 'adapter_revision: {commit}'.")


def _licence(facts: SourceFacts) -> Says:
    files = _fused(facts)
    own, stated = adapter_licence(files), licence_of(facts.recipe, facts.source.licence_card).id
    if facts.recipe.spec.license:
        return passed(f"the recipe states {stated}; the adapter's card states {own or 'none'}")
    if own is None:
        why = "the adapter's card states no licence"
        if facts.recipe.adapter_folder:
            return warned(f"{why}; the card names the base's, {stated}", "Add 'license: …' to the recipe.")
        return failed(why, "Add 'license: …' to the recipe if you know which one applies to base and adapter.")
    base = (facts.source.card.text("license") or "").lower()
    if not base or own == base or {own, base} & PERMISSIVE:
        return passed(f"the base's is {base or 'not known'}, the adapter's {own}; the card states {stated}")
    return failed(
        f"the base's licence is {base} and the adapter's {own}; the fused model has the terms of both",
        "Add 'license: …' to the recipe, with the one whose terms are the stricter, or 'other' with name and link.",
    )


def adapter_licence(files: FusedFiles) -> str | None:
    """Return the licence that the adapter's card states, in lower case; None without one."""
    own = (files.card.text("license") or "").lower()
    return own if re.fullmatch(LICENCE, own) and own != "unknown" else None


def _check(name: str, title: str, protects: str, run: Callable[[SourceFacts], Says]) -> Check[SourceFacts]:
    return Check(name, title, protects, run, when=_is_fused)


ADAPTER: tuple[Check[SourceFacts], ...] = (
    _check("adapter-form", "The adapter is of a kind that can be fused", "an adapter that is applied wrong", _form),
    _check("adapter-base", "The source is the adapter's base", "an adapter on weights that it does not fit", _base),
    _check("adapter-placed", "Every tensor of it has a place", "parts of the training that are lost", _placed),
    _check("adapter-numbers", "The adapter's numbers are finite", "a broken training that becomes a model", _numbers),
    _check("adapter-revision", "The adapter is pinned to a commit", "a card that describes other bytes", _revision),
    _check("adapter-tokenizer", "It is known whose tokenizer is used", "tokens that were not trained", _tokenizer),
    _check("adapter-licence", "The licences of base and adapter fit", "publishing without permission", _licence),
)
