"""The card as a pure function of recipe and evidence, and of a repo's own templates, whose digests the evidence has."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from jinja2 import TemplateError

from mlx_publish.card import chart
from mlx_publish.card.drafter import drafter
from mlx_publish.card.environment import render_body
from mlx_publish.card.front_matter import front_matter, front_matter_text
from mlx_publish.card.held import held, origin, reference
from mlx_publish.card.licence import legal_files, licence_words
from mlx_publish.card.limits import limits, passed, remarks
from mlx_publish.card.quantized import quantized
from mlx_publish.card.rounding_chart import Point
from mlx_publish.card.senses import perceived, picture
from mlx_publish.card.templates import judge, read_templates, templates_beside
from mlx_publish.card.words import by_size, choice, form, here, needed_memory, shared, short_tokens
from mlx_publish.chat.described import described
from mlx_publish.converters import Converter, converter_of
from mlx_publish.errors import BadInput
from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.evidence import LACKING, Evidence, Rung
from mlx_publish.evidence.measurements import ProofSpec, SmokeSpec
from mlx_publish.evidence.planned import plan_of
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.methods import Form, method_of, settings_given
from mlx_publish.methods.plan import TARGETS
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.recipes.sections import KeptTowers, MultiTokenHeads
from mlx_publish.text import kit
from mlx_publish.text.markdown import Markdown, escape, tidy, unclosed

UNRENDERABLE = (*LACKING, TemplateError)
"""What rendering raises where evidence lacks something within a measurement."""
_TARGET = frozenset({*TARGETS, "context"})
"""Keys of a variant that ask for a plan."""


def load_as(recipe: Recipe, variant: Variant) -> str:
    """Return what a user gives to `mlx_lm.load`."""
    destination = recipe.destinations[variant.label]
    return destination.repo or destination.name


def render(recipe: Recipe, variant: Variant, evidence: Evidence, templates: Path | None = None) -> str:
    """Render the card of a variant; whoever has recipe, evidence and templates gets the same bytes.

    `templates` is the repo's own folder of templates, that beside the recipe's file where none is given.
    """
    notes = recipe.spec.card.notes
    if opened := unclosed(notes):
        key = "card.notes"
        raise BadInput(
            f"opens {opened} and does not close it, which would swallow the rest of the card",
            place=recipe.place_of(key),
            key=key,
            remedy="Close it within the notes.",
        )
    name = recipe.destinations[variant.label].name
    return render_card(name, load_as(recipe, variant), notes, evidence, templates or templates_beside(recipe))


def render_card(name: str, load_as: str, notes: str, evidence: Evidence, templates: Path | None = None) -> str:
    """Render README.md of the variant that `evidence` describes.

    `name` is the title, `load_as` what `mlx_lm.load` is given, `notes` a person's Markdown from the recipe, `templates`
    the folder of a repo's own templates. Raises `Refused` where the evidence was made with other templates, `BadInput`
    where one of them is broken.
    """
    own = read_templates(templates)
    judge(own, evidence)
    body = render_body(own, context(name, load_as, notes, evidence))
    return front_matter_text(front_matter(evidence)) + "\n" + tidy(body)


def context(name: str, load_as: str, notes: str, evidence: Evidence) -> Mapping[str, object]:
    """Return all that templates are given, as plain data; docs/card.md lists it."""
    smoke, ladder, converter = evidence.smoke, by_size(evidence.ladder), converter_of(evidence.tools)
    return {
        "name": name,
        "load_as": load_as,
        "notes": Markdown(notes.strip()),
        "e": evidence.plain,
        "here": _plain(here(evidence)),
        "ladder": [rung.plain for rung in ladder],
        "choice": {key: _plain(rung) for key, rung in choice(ladder).items()},
        "speed": _speed(ladder),
        "nvidia": _nvidia(evidence),
        "snippet": converter.snippet(load_as, smoke),
        "library": {"name": Markdown(converter.distribution), "module": Markdown(converter.module)},
        "perceived": perceived(evidence),
        "has_picture": picture(evidence) is not None,
        "twin_by": _twin_by(evidence.proof) if evidence.proof else "",
        "tools_snippet": converter.tools_snippet(smoke),
        "commands": converter.commands(load_as, smoke),
        "described": list(described(smoke.capabilities)) if smoke and smoke.capabilities else [],
        "told": remarks(evidence),
        "passed": passed(evidence),
        "limits": limits(evidence),
        "licence": licence_words(evidence),
        "legal_files": legal_files(evidence),
        "adapter_words": adapter_words(evidence),
        "again": again(evidence),
        "swift": swift_of_pictures(load_as) if converter.senses else swift(load_as, smoke),
        "form": form(evidence),
        "quantized": quantized(evidence),
        "held": held(evidence),
        "origin": origin(evidence),
        "reference": reference(evidence),
        "drafter": drafter(evidence),
        "needed": _needed(evidence),
        "sampling": _sampling(evidence, converter),
        "kit": _kit(evidence),
        "badge": badge(evidence),
    }


def _needed(evidence: Evidence) -> Mapping[str, object] | None:
    rung = here(evidence)
    needed = needed_memory(rung) if rung else None
    return {"bytes": needed[0], "context": short_tokens(needed[1])} if needed else None


def _twin_by(proof: ProofSpec) -> Markdown:
    """Return the converter that computed the twin, with its version."""
    name = converter_of(proof.mlx_lm).distribution
    return Markdown(f"{name} {escape(proof.mlx_lm[name], 40)}")


def _sampling(evidence: Evidence, converter: Converter) -> Mapping[str, object] | None:
    given = evidence.sampling
    settings = {key: value for key, value in given.plain.items() if value is not None} if given else {}
    return {"settings": settings, "flags": converter.sampling_flags(given)} if given and settings else None


def _kit(evidence: Evidence) -> Mapping[str, str]:
    """Return where the kit is and how to install it: what evidence of earlier versions does not say is a constant."""
    address, ref = evidence.kit.address if evidence.kit else kit.address({}), f"v{evidence.generator}"
    return {
        "address": address,
        "page": f"{address}/blob/{ref}/docs/card.md",
        "verify": f"uvx --from {shlex.quote(f'git+{address}@{ref}')} {kit.NAME} verify",
    }


def swift(load_as: str, smoke: SmokeSpec | None) -> str:
    """Return Swift for MLXLLM of mlx-swift-lm, as its documentation loads a model of the Hub."""
    question = smoke.asked.get("prompt", "") if smoke else ""
    plain = question.isascii() and question.isprintable() and not set(question) & set('"\\')
    asked = question if plain and question else "What causes a solar eclipse?"
    return "\n".join(
        (
            "import MLXLLM",
            "import MLXLMCommon",
            "",
            "let model = try await LLMModelFactory.shared.loadContainer(",
            f'    configuration: .init(id: "{load_as}")',
            ")",
            "let session = ChatSession(model)",
            f'print(try await session.respond(to: "{asked}"))',
        )
    )


def swift_of_pictures(load_as: str) -> str:
    """Return Swift for MLXVLM of mlx-swift-lm, whose `ChatSession` takes a picture beside the question."""
    return "\n".join(
        (
            "import Foundation",
            "import MLXLMCommon",
            "import MLXVLM",
            "",
            "let model = try await VLMModelFactory.shared.loadContainer(",
            f'    configuration: .init(id: "{load_as}")',
            ")",
            "let session = ChatSession(model)",
            'let picture = URL(fileURLWithPath: "picture.png")',
            'print(try await session.respond(to: "Describe this picture.", image: .url(picture)))',
        )
    )


def badge(evidence: Evidence) -> str:
    """Return Markdown of a badge: `MLX | 4bit · close`, in a warning colour from lossy on."""
    step = closeness(evidence.fidelity.mean_kld) if evidence.fidelity else None
    words = f"{evidence.variant.label} · {step.word}" if step else evidence.variant.label
    colour = "lightgrey" if step is None else "orange" if step.warns else "blue"
    # shields.io reads - and _ as separators unless they are doubled.
    text = quote(words.replace("-", "--").replace("_", "__"), safe="")
    image = f"![MLX {escape(words)}](https://img.shields.io/badge/MLX-{text}-{colour})"
    repo = evidence.destination.repo
    return f"[{image}](https://huggingface.co/{repo})" if repo else image


def _plain(rung: Rung | None) -> Mapping[str, object] | None:
    return rung.plain if rung else None


def _speed(ladder: Sequence[Rung]) -> Mapping[str, object]:
    return {
        "chip": shared(rung.chip for rung in ladder),
        "device": shared(rung.device for rung in ladder),
        "backend": shared(rung.backend for rung in ladder),
        "prompt_tokens": shared(rung.prompt_tokens for rung in ladder),
        "memory_tokens": shared(rung.memory_tokens for rung in ladder),
    }


def _nvidia(evidence: Evidence) -> Mapping[str, object] | None:
    """Return the NVIDIA GPU that the speed was measured on; None for any other device."""
    speed = evidence.benchmark
    if speed is None or speed.kind != "CUDA":
        return None
    known = speed.machine.plain
    return {
        "name": speed.chip,
        "memory_bytes": known.get("gpu_memory_bytes"),
        "driver": known.get("gpu_driver"),
    }


def render_chart(evidence: Evidence) -> str | None:
    """Render ladder.svg of the variant that `evidence` describes; None where there is nothing to compare it with."""
    rungs = [
        chart.Rung(
            rung.label,
            rung.weight_bytes,
            rung.mean_kld,
            rung.mean_kld_error,
            rung.generation_tps,
            rung.kind,
            here=rung.label == evidence.variant.label,
        )
        for rung in evidence.ladder
    ]
    gain = evidence.fidelity.gain if evidence.fidelity else None
    curve = [Point(point.label, point.weight_bytes, point.mean_kld) for point in gain.curve] if gain else []
    return chart.ladder_chart(rungs, evidence.source.name, curve) if has_chart(evidence) else None


def has_chart(evidence: Evidence) -> bool:
    """Return whether there is something to draw: other variants, or plain rounding at equal bytes."""
    return len(evidence.ladder) > 1 or bool(evidence.ladder and evidence.fidelity and evidence.fidelity.gain)


def adapter_words(evidence: Evidence) -> str:
    """Return what a fused adapter is, as `LoRA of PEFT, rank 16`; empty without one."""
    if (adapter := evidence.adapter) is None:
        return ""
    kind = {"lora": "LoRA", "dora": "DoRA", "full": "whole parameters"}[adapter.kind]
    rank = f", rank {adapter.rank}" if adapter.rank else ""
    return f"{kind} of {'PEFT' if adapter.maker == 'peft' else 'mlx-lm'}{rank}"


def again(evidence: Evidence) -> str:
    """Return the command that makes the same weights again."""
    variant, words = evidence.variant, _source_words(evidence)
    if variant.quantized:
        options = dict(variant.options)
        if plan_of(evidence):  # what is measured again may choose other bits
            options = {key: value for key, value in options.items() if key not in _TARGET} | {"plan": PLAN_FILE}
        form = Form(True, variant.bits, variant.group_size, variant.mode, variant.mixed, options=options)
        words += map(shlex.quote, method_of(form).flags(form))
    if variant.dtype:
        words += ["--dtype", variant.dtype]
    words += _tower_words(evidence)
    words += _drafter_words(evidence)
    if settings := settings_given(variant.options):
        words.append(f"# in a recipe, with learning: {settings}")  # settings have no flags
    return " ".join(words)


def _source_words(evidence: Evidence) -> list[str]:
    source = evidence.source
    words = ["mlx-publish convert --source", shlex.quote(source.repo or f"./{source.name}")]
    if source.repo:
        words += ["--revision", source.identity]
    if source.held and source.base_model:  # `base-named` refuses a quantization without it
        words += ["--base-model", shlex.quote(source.base_model)]
    if source.modality:
        words += ["--modality", shlex.quote(source.modality)]
    if adapter := evidence.adapter:
        words += ["--adapter", shlex.quote(adapter.repo or f"./{adapter.name}")]
        words += ["--adapter-revision", adapter.identity] if adapter.repo else []
    return words


def _tower_words(evidence: Evidence) -> list[str]:
    """Return the flag that quantizes towers as they are; a group size has no flag."""
    kept = evidence.model.towers_quantized
    if kept is None:
        return []
    bits, group = kept
    beside = f"# in a recipe, with towers: {{bits: {bits}, group_size: {group}}}"
    return ["--towers", f"{bits}bit", *([] if group == KeptTowers().group else [beside])]


def _drafter_words(evidence: Evidence) -> list[str]:
    made = evidence.drafter
    if made is None:
        return []
    words = ["--mtp", f"{made.bits}bit" if made.bits else "keep"]
    if made.bits and made.group_size != MultiTokenHeads().group:  # a group size has no flag
        words.append(f"# in a recipe, with mtp: {{bits: {made.bits}, group_size: {made.group_size}}}")
    return words
