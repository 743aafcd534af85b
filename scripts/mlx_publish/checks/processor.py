"""The files of a processor: there, possible, and in agreement with config.json and the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.names import shown
from mlx_publish.model.processors import FILES, Processor, disagreements, faults, oddities, processors
from mlx_publish.model.sense_tokens import BORDERS, PLACES, ends_of, ids_of, no_ids, text_of
from mlx_publish.model.senses import kinds_in, senses_in
from mlx_publish.model.vocabulary import read_decoder

_COMPLETE = "Complete the source: the file lies beside the weights of the model that it was made from."
_LONGEST = 300
"""Characters of a fault that is shown."""
_CORRECT = "Correct the file in the source, or config.json where that is wrong."
_SQUARE = frozenset(
    {
        "gemma3",
        "paligemma",
        "llava",
        "llava_next",
        "internvl",
        "aya_vision",
        "mllama",
        "llama4",
        "idefics3",
        "smolvlm",
    }
)
"""Model types whose encoder has a place for each part of pictures of one size."""


_JOINED = frozenset({"aya_vision", "cohere2_vision"})
"""Model types whose processor_config.json names the size of patches that were joined."""


def _sees(facts: SourceFacts) -> bool:
    return facts.loads.senses and facts.loads.version is not None


def parts(facts: SourceFacts) -> tuple[Processor, ...]:
    """Return the parts of the source's processor. `Refused` where a file is none of JSON."""
    contents = {path: content for path in FILES if (content := facts.source.json(path)) is not None}
    return processors(contents)


def _files(facts: SourceFacts) -> Says:
    found = parts(facts)
    claimed = kinds_in(senses_in(facts.source.config.raw))
    if "images" in claimed and not any(part.sees for part in found):
        return failed(
            "the source has no preprocessor_config.json, by which clients make numbers of pictures", _COMPLETE
        )
    if not found:
        return failed("the source has no processor_config.json, by which clients make numbers of sounds", _COMPLETE)
    if wrong := [fault for part in found for fault in faults(part)]:
        return failed(f"impossible values: {_some(wrong)}", "Correct the file in the source.")
    if odd := [fault for part in found for fault in oddities(part)]:
        return warned(f"unusual values: {_some(odd)}", _CORRECT)
    files = sorted({part.place.partition(" ")[0] for part in found})
    code = [part.place for part in found if part.settings.get("auto_map")]
    if code:
        return warned(
            f"{', '.join(files)}: possible; auto_map in {code[0]} names code, of which none travels and none is run",
            "Check the answers about pictures: clients with a class of their own for this model need no code.",
        )
    return passed(f"{', '.join(files)}: there, and what they say is possible")


def _some(wrong: list[str]) -> str:
    return "; ".join(shown(fault, _LONGEST) for fault in wrong[:3])


def _agrees(facts: SourceFacts) -> Says:
    found, config = parts(facts), facts.source.config.raw
    wrong = [fault for part in found for fault in _differences(part, config)]
    if wrong:
        return failed(f"config.json says otherwise: {_some(wrong)}", _CORRECT)
    if apart := list(disagreements(found)):
        return warned(
            f"two files say otherwise, and clients read the one or the other: {_some(apart)}",
            "Make the two files of the source agree; transformers 5 reads image_processor of processor_config.json.",
        )
    return passed("sizes of patches, pictures and their tokens are those of config.json")


def _differences(part: Processor, config: Mapping[str, object]) -> Iterator[str]:
    """Yield what a part of a processor says otherwise than config.json."""
    vision, settings, kind = _section(config, "vision_config"), part.settings, str(config.get("model_type"))
    joined = ("processor_config.json",) if kind in _JOINED else ()
    pairs = (
        ("patch_size", None if part.place in joined else _side(vision.get("patch_size"))),
        ("encoder_patch_size", _side(vision.get("patch_size"))),
        ("merge_size", vision.get("spatial_merge_size")),
        ("spatial_merge_size", config.get("spatial_merge_size") or vision.get("spatial_merge_size")),
        ("temporal_patch_size", vision.get("temporal_patch_size") if kind.startswith("qwen") else None),
        ("pooling_kernel_size", vision.get("pooling_kernel_size")),
        ("image_seq_length", config.get("mm_tokens_per_image") or _tokens(config, vision)),
        ("image_seq_len", _tokens(config, vision)),
        ("vision_feature_select_strategy", config.get("vision_feature_select_strategy")),
    )
    for key, wanted in pairs:
        said = _side(settings.get(key))
        if said is not None and wanted is not None and said != wanted:
            yield f"{key} is {said} in {part.place}, and {wanted} there"
    if part.sees:
        yield from _other_size(part, config, vision)


def _other_size(part: Processor, config: Mapping[str, object], vision: Mapping[str, object]) -> Iterator[str]:
    """Yield that pictures are made of another size than the encoder has places for."""
    wanted, kind = _side(vision.get("image_size")), str(config.get("model_type"))
    if kind not in _SQUARE or not isinstance(wanted, int):
        return
    for key in ("max_image_size", "crop_size", "size"):
        value = part.settings.get(key)
        if key == "crop_size" and part.settings.get("do_center_crop") is False:
            continue
        sides = [side for side in value.values() if side is not None] if isinstance(value, Mapping) else [value]
        if value is None or (isinstance(value, Mapping) and key == "size" and not {"height", "width"} <= value.keys()):
            continue
        if any(side != wanted for side in sides):
            said = " x ".join(map(str, sides))
            yield f"{key} is {said} in {part.place}, and image_size {wanted} there"
        return


def _tokens(config: Mapping[str, object], vision: Mapping[str, object]) -> int | None:
    """Return how many tokens a picture has, where config.json decides it; None elsewhere."""
    size, patch = _side(vision.get("image_size")), _side(vision.get("patch_size"))
    if not isinstance(size, int) or not isinstance(patch, int) or patch < 1:
        return None
    whole, kind = (size // patch) ** 2, str(config.get("model_type"))
    if kind in ("idefics3", "smolvlm") and type(scale := config.get("scale_factor")) is int and scale > 0:
        return whole // scale**2
    if kind == "internvl" and isinstance(ratio := config.get("downsample_ratio"), (int, float)):
        return round(whole * ratio**2)
    return whole if kind == "paligemma" else None


def _side(value: object) -> object:
    """Return the side of a square, of whatever form; other values as they are."""
    if isinstance(value, Mapping):
        sides = {side for side in value.values() if side is not None}
        return next(iter(sides)) if len(sides) == 1 else None
    if isinstance(value, list):
        return value[0] if value and all(side == value[0] for side in value) else None
    return value


def _section(config: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def _tokens_there(facts: SourceFacts) -> Says:
    config, vocabulary = facts.source.config.raw, facts.source.vocabulary
    if wrong := no_ids(config):
        return failed(f"{wrong[0]} of config.json is {shown(repr(config[wrong[0]]))}, not an id", "Correct it in config.json.")
    said = facts.source.json("tokenizer_config.json") or {}
    known = {**vocabulary.pieces, **read_decoder(said), **vocabulary.added}
    if not known:
        return passed("no tokenizer.json lists the tokens")
    by_id = {number: text for text, number in known.items()}
    places = dict(ids_of(config, PLACES))
    if lost := [f"{key} {number}" for key, number in places.items() if number not in by_id]:
        return failed(
            f"config.json names tokens that the tokenizer does not have: {', '.join(lost)}",
            "Correct the ids in config.json, or complete the tokenizer.",
        )
    texts = text_of(config, *(part.settings for part in parts(facts)), said)
    images = {key: number for key, number in places.items() if key.startswith(("image", "media"))}
    for text in texts:
        if images and text in known and known[text] not in images.values():
            key, number = next(iter(images.items()))
            return failed(
                f"{key} of config.json is {number}, {shown(by_id[number])}, and images stand at {shown(text)}, "
                f"{known[text]}",
                "Correct the id in config.json.",
            )
    if says := _shared(config, by_id):
        return says
    if lost := [f"{key} {number}" for key, number in ids_of(config, BORDERS) if number not in by_id]:
        return warned(f"config.json names tokens that the tokenizer does not have: {', '.join(lost)}")
    named = ", ".join(f"{shown(by_id[number])} ({number})" for number in dict.fromkeys(places.values()))
    return passed(f"the tokenizer has the tokens that stand for images and sounds: {named or 'none is named'}")


def _shared(config: Mapping[str, object], by_id: Mapping[int, str]) -> Says | None:
    """Judge an id that stands for a picture and for something else: one of both is never seen, or never ends."""
    places, borders = dict(ids_of(config, PLACES)), dict(ids_of(config, BORDERS))
    ends = ends_of(config)
    for key, number in places.items():
        what = f"{key} of config.json is {number}, {shown(by_id[number])}"
        if number in ends:
            return failed(f"{what}, at which an answer ends, too", "Correct the id in config.json.")
        sense = key.partition("_")[0]
        others = {other: id_ for other, id_ in places.items() if other.partition("_")[0] != sense} | borders
        if twice := next((other for other, id_ in others.items() if id_ == number), ""):
            return warned(f"{what}, and so is {twice}", "Correct the id in config.json.")
    begins, closes = (
        next((id_ for key, id_ in borders.items() if key.startswith(names)), None)
        for names in (("boi", "vision_start", "image_start"), ("eoi", "vision_end", "image_end"))
    )
    if begins is not None and begins == closes:
        return warned(f"config.json begins and ends images by the same id, {begins}", "Correct the ids in config.json.")
    return None


PROCESSOR: tuple[Check[SourceFacts], ...] = (
    Check(
        "processor-files",
        "The processor's files are there, and what they say is possible",
        "pictures that become other numbers, or take all memory",
        _files,
        safety=True,
        when=_sees,
    ),
    Check(
        "processor-agrees",
        "The processor makes pictures for this encoder",
        "patches and tokens of another model",
        _agrees,
        when=_sees,
    ),
    Check(
        "sense-tokens",
        "The tokenizer has the tokens that stand for pictures and sounds",
        "a picture that is put in no place",
        _tokens_there,
        when=_sees,
    ),
)
