"""The judgement about a source's architecture, proven on a small random model of its own config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.evidence.proof import PicturesProof, TwinPicture, TwinProof
from mlx_publish.evidence.records import to_json

# Normalised squared error of the logits, both in float32: equal models are at 1e-13 to 1e-6 (approximations
# of GELU through many layers). A soft cap that is ignored makes 7e-5 here, where scores are small, and more in earnest.
MAX_NMSE = 1e-5
ROUNDING = 5e-6
MAX_PICTURES_NMSE, PICTURES_ROUNDING = 1e-6, 1e-8
"""Of logits with images: a thousandth of their spread. Equal models are at 1e-13 to 1e-10; another form of GELU in the
projector makes 1e-8 to 1e-6."""
_REMEDY = (
    "Choose a model whose config.json does not use it, or wait for an {by} that computes it; "
    "accept the check twin-equal with a reason if the difference does not affect you."
)
_PICTURES_REMEDY = (
    "Wait for an {by} that computes it, or publish the language model alone with modality: text; "
    "accept the check twin-pictures with a reason if the difference does not affect you."
)


@dataclass(frozen=True)
class TwinFacts:
    """What the comparison shows, or why there is none."""

    proof: TwinProof | None
    reason: str = ""


# Where transformers and mlx-lm follow different originals, or where mlx-lm is the nearer one to the authors' code: by
# model type and key what each does. Such a difference is named and does not refuse.
_SCALED_LOGITS = (
    "transformers 5 leaves it out of its class with images, mlx-vlm and the class of the text model multiply the "
    "logits by it"
)
_GROUPED_NORM = "mlx-lm normalises each group by itself, as mamba_ssm does, and transformers all of them at once"
DISPUTED: Mapping[str, Mapping[str, str]] = {
    "nemotron_h": dict.fromkeys(
        ("time_step_min", "time_step_limit", "time_step_floor"),
        "transformers keeps the time step at or above time_step_min, mlx-lm and the kernels of mamba_ssm above 0",
    ),
    "mamba2": {"n_groups": _GROUPED_NORM},
    "aya_vision": {"logit_scale": _SCALED_LOGITS},
    "cohere2_vision": {"logit_scale": _SCALED_LOGITS},
    "dbrx": {"rope_theta": "transformers 5 leaves rope_theta within attn_config out, mlx-lm takes it"},
    "": {
        "truncate": "mlx-lm rounds the range of yarn to whole dimensions; of a real model's positions some thousandths "
        "of the probability move"
    },
}
"""The empty model type is for all."""


def _equal(facts: SourceFacts) -> Says:
    return judge(facts.twin(), facts.source.config.raw, facts.loads.name)


def judge(twin: TwinFacts, config: Mapping[str, object], by: str = "mlx-lm") -> Says:
    """Judge the twin of a config that the converter `by` reads."""
    if twin.proof is None:
        return skipped(f"the architecture is not proven: {twin.reason}", told=True)
    proof, name = twin.proof, f"transformers {twin.proof.versions['transformers']}"
    if proof.problem:
        why = f" because of {proof.blame} ({_value(config, proof.blame)})" if proof.blame else ""
        return failed(
            f"{by} cannot compute this config.json{why}, and {name} can: {proof.problem}",
            f"Correct config.json in the source, or wait for a newer {by}.",
            problem=proof.problem,
        )
    errors = [text.nmse for text in proof.texts if text.nmse is not None]
    if len(errors) < len(proof.texts):
        problem = next((text.problem for text in proof.texts if text.problem), "")
        return failed(f"no comparison with {name} is possible: {problem}", _REMEDY.format(by=by))
    numbers = f"normalised squared error {max(errors):.1e} on a small random model of its config"
    if max(errors) <= ROUNDING:
        return passed(f"{by} computes what {name} computes: {numbers}", **_details(proof))
    if max(errors) <= MAX_NMSE:
        return warned(f"{by} computes nearly what {name} computes: {numbers}", **_details(proof))
    return _different(config, proof, name, by)


def _alike(facts: SourceFacts) -> Says:
    return judge_pictures(facts.twin(), facts.source.config.raw, facts.loads.name)


def judge_pictures(twin: TwinFacts, config: Mapping[str, object], by: str) -> Says:
    """Judge the twin where pictures are shown to it; a failure on text alone is said by `judge`."""
    proof = twin.proof
    pictures = proof.pictures if proof and not proof.problem else None
    if proof is None or pictures is None or pictures.not_proven:
        reason = pictures.not_proven if pictures else twin.reason or "it cannot be computed at all"
        return skipped(f"what {by} computes of images is not proven: {reason}", told=True)
    name = f"transformers {proof.versions['transformers']}"
    if pictures.problem:
        why = f" because of {proof.blame} ({_value(config, proof.blame)})" if proof.blame else ""
        return failed(
            f"{by} cannot compute an image{why}, and {name} can: {pictures.problem}",
            _PICTURES_REMEDY.format(by=by),
            problem=pictures.problem,
        )
    return _judge_numbers(proof, pictures, config, name, by)


def _judge_numbers(proof: TwinProof, pictures: PicturesProof, config: Mapping[str, object], name: str, by: str) -> Says:
    errors = [text.nmse for text in pictures.texts if text.nmse is not None]
    details = {"pictures": to_json(pictures)["texts"]}
    if len(errors) < len(pictures.texts):
        problem = next((text.problem for text in pictures.texts if text.problem), "")
        return failed(
            f"{by} and {name} give incomparable logits of images: {problem}", _PICTURES_REMEDY.format(by=by), **details
        )
    numbers = f"normalised squared error {max(errors):.1e}"
    if max(errors) <= PICTURES_ROUNDING:
        return passed(f"{by} computes of images what {name} computes: {numbers}", **details)
    if max(errors) <= MAX_PICTURES_NMSE:
        return warned(f"{by} computes of images nearly what {name} computes: {numbers}", **details)
    if proof.blame and (disputed := _disputed(config, proof.blame)):
        difference = f"{_with_images(pictures)}, {by} does not compute what {name} computes ({numbers})"
        value = _value(config, proof.blame)
        return warned(f"{difference}, because of {proof.blame} ({value}): {disputed}", **details, blame=proof.blame)
    return failed(
        f"{_with_images(pictures)}, {by} does not compute what {name} computes{_place(proof, config, numbers)}",
        _PICTURES_REMEDY.format(by=by),
        **details,
        **({"blame": proof.blame} if proof.blame else {}),
    )


def _first(pictures: PicturesProof) -> TwinPicture:
    return next(text for text in pictures.texts if text.nmse is not None and text.nmse > MAX_PICTURES_NMSE)


def _with_images(pictures: PicturesProof) -> str:
    return "with images of different sizes" if _first(pictures).pictures > 1 else "with an image"


def _place(proof: TwinProof, config: Mapping[str, object], numbers: str) -> str:
    """Return where a difference begins, how large it is, which part it is in, and the key to blame."""
    assert proof.pictures is not None  # noqa: S101  it differs there
    first = _first(proof.pictures)
    where = f" from position {first.position} on" if first.position is not None else ""
    part = f": {first.part} differs" if first.part else ""
    key = f"; it ignores {proof.blame} ({_value(config, proof.blame)}) or computes it otherwise" if proof.blame else ""
    return f"{where} ({numbers}){part}{key}"


def _different(config: Mapping[str, object], proof: TwinProof, name: str, by: str) -> Says:
    difference = f"{by} does not compute what {name} computes{_where(proof)}"
    remedy = _REMEDY.format(by=by)
    if lost := list(proof.lost):
        named = f"{', '.join(lost[:3])}{' and others' if lost[3:] else ''}"
        return failed(f"{difference}: its class has no place for {named}", remedy, **_details(proof), lost=lost)
    key = proof.blame
    if key is None:
        return failed(f"{difference}; no single key of config.json explains it", remedy, **_details(proof))
    disputed = _disputed(config, key)
    value = _value(config, key)
    if disputed:
        return warned(f"{difference}, because of {key} ({value}): {disputed}", **_details(proof))
    return failed(f"{difference}: it ignores {key} ({value}) or computes it otherwise", remedy, **_details(proof))


def _disputed(config: Mapping[str, object], key: str) -> str:
    """Return what each side does with a key where they follow different originals; empty where one is wrong."""
    last = key.rpartition(".")[2]
    return DISPUTED.get(str(config.get("model_type")), {}).get(last) or DISPUTED[""].get(last, "")


def _where(proof: TwinProof) -> str:
    short, long = proof.texts
    if boundary := proof.boundary:
        place = f"{boundary.position:,}" if isinstance(boundary.position, int) else boundary.position
        return f" from position {place} on ({boundary.key})"
    if short.position is None:
        return f", in long texts only (from position {long.position} of the small model)"
    if long.position is None:
        return ", in short texts only"
    return f" from position {short.position} on"


def _value(config: Mapping[str, Any], key: str) -> str:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    text = "absent, so its default applies" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _details(proof: TwinProof) -> dict[str, Any]:
    plain = to_json(proof)
    return {key: plain[key] for key in ("class", "versions", "mlx_lm", "boundary", "blame", "value", "texts")}


TWIN: tuple[Check[SourceFacts], ...] = (
    Check("twin-equal", "MLX computes what transformers computes", "a layer that computes something else", _equal),
    Check(
        "twin-pictures",
        "MLX computes of images what transformers computes",
        "a tower, a projector or a place of image tokens that is computed otherwise",
        _alike,
        when=lambda facts: facts.loads.senses,
    ),
)
