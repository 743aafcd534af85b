"""The twin: a small random model of a source's own config, made and computed by transformers.

Its weights are random but of a size that lets every part show in the logits; what a class begins with as 0 or 1, as
biases and norms, is moved away from it. All in float32 on the CPU.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mlx_publish.evidence.proof import Boundary, SmallConfig, TwinMade, TwinPicture, TwinText, TwinTexts
from mlx_publish.torch_check.comparing import Comparison
from mlx_publish.torch_check.naming import name_as
from mlx_publish.torch_check.parts import BOTH_WAYS, part_of
from mlx_publish.torch_check.reasons import error_words
from mlx_publish.torch_check.shrink import shrink
from mlx_publish.torch_check.sizes import LONG, VOCABULARY
from mlx_publish.torch_check.whole_towers import completed

Config = Mapping[str, Any]
Keywords = dict[str, Any]
FIRST = 1e-6
"""Normalised squared error over which a position counts as different; rounding makes some 1e-10."""
SHORT = 24
"""Tokens of the short text, within every boundary."""
SAVED, WRITTEN = "saved", "written"
"""The two folders of a twin: config.json as transformers saves it, and in the source's own spelling."""
_ORDINARY = range(3, VOCABULARY - 60)
_NOISE = 0.1
_WHOLE = 20


@dataclass(frozen=True)
class Seeing:
    """What a twin needs of a source that sees: the `names` of its tensors, and the folder of drawn pictures."""

    names: Sequence[str]
    drawn: str
    undrawn: str
    """Why nothing is drawn; empty if it is."""


def texts() -> list[list[int]]:
    """Return the ids of a short and a long text, without special tokens."""
    random = np.random.default_rng(7)
    return [[int(id_) for id_ in random.integers(_ORDINARY.start, _ORDINARY.stop, n)] for n in (SHORT, LONG)]


def small(config: Config, folder: str, *, senses: bool = False) -> SmallConfig:
    """Return the small config of a source's own, and where the source's boundaries lie in it."""
    whole = dict(config)
    try:
        settings = _kind(shrink(config).config | dict(config), Path(folder))[0]
        resolved = settings.get_text_config().to_dict()
        whole = completed(config, settings.to_dict(), resolved) if senses else whole
    except Exception:  # noqa: BLE001  whatever transformers raises here, it raises again where it matters
        resolved = {}
    shrunk = shrink(whole, resolved, senses=senses)
    boundaries = [Boundary(position, key, value) for position, (key, value) in shrunk.boundaries.items()]
    return SmallConfig(shrunk.config, boundaries)


def make(config: Config, folder: Path, seed: int = 0, count: int = 2, source: Seeing | None = None) -> TwinMade:
    """Make the twin of a small `config` in `folder`: weights, both configs, and the logits of the first texts.

    `logits.N.npy` is (positions, vocabulary). With a `source` that sees its tensors have the source's names, and
    pictures are shown to it too.
    """
    model, computed = _computed(config, folder / "asked", seed, count, whole=source is not None)
    saved, written = folder / SAVED, folder / WRITTEN
    model.save_pretrained(str(saved), max_shard_size="50GB")
    written.mkdir()
    (written / "config.json").write_text(json.dumps(dict(config), indent=2))
    for weights in saved.glob("*.safetensors"):
        (written / weights.name).symlink_to(weights)
    for number, values in enumerate(computed):
        np.save(folder / f"logits.{number}.npy", values)
    parameters = sum(weight.numel() for weight in model.parameters())
    made = TwinMade(type(model).__name__, parameters, texts()[:count])
    if source is None:
        return made
    name_as(source.names, saved)
    if source.undrawn:
        return replace(made, no_pictures=source.undrawn)
    shown, reason = _shown(model, config, source, folder, seed)
    return replace(made, pictures=shown, no_pictures=reason)


def _shown(model: Any, config: Config, source: Seeing, folder: Path, seed: int) -> tuple[int, str]:
    """Show pictures and keep what is given and computed; return how many times, or why it is not possible."""
    from mlx_publish.torch_check import pictures  # noqa: PLC0415

    try:
        shower = pictures.Shower(model, config, Path(source.drawn))
        for number, one in enumerate(shower.shown(seed)):
            values, embedded = pictures.ask(model, one)
            known = {"logits": values, "embedded": embedded}
            if forward := pictures.read_forward(one):
                known["forward"] = pictures.ask(model, forward)[0]
            told = {"image": np.array(shower.token), "pictures": np.array(one.pictures)}
            given = {"ids": np.array(one.ids), "prompt": np.array(one.prompt), **one.inputs}
            np.savez(folder / WRITTEN / f"picture.{number}.npz", **cast("Keywords", given))
            np.savez(folder / f"picture.{number}.npz", **cast("Keywords", {**known, **told}))
    except Exception as error:  # noqa: BLE001  what a processor or a tower raises says nothing of MLX
        traceback.print_exc()
        return 0, error_words(error)
    return number + 1, ""


def _computed(
    config: Config, folder: Path, seed: int, count: int, *, whole: bool = False
) -> tuple[Any, list[NDArray[np.float32]]]:
    """Return a model and its logits of `texts()`.

    Where a whole model cannot be built or asked here (a tower needs a package that is not installed, a class wants
    pictures), its language model is made alone, unless it is to be `whole`.
    """
    settings, kind = _kind(config, folder)
    try:
        model = build(settings, kind, seed)
        return model, [logits(model, ids) for ids in texts()[:count]]
    except Exception:
        text, language = settings.get_text_config(), _auto("AutoModelForCausalLM", settings.get_text_config())
        if whole or text is settings or language is None:
            raise
        model = build(text, language, seed)
        return model, [logits(model, ids) for ids in texts()[:count]]


def build(settings: Any, kind: Any, seed: int = 0) -> Any:
    """Return a random model of a class of transformers."""
    import torch  # noqa: PLC0415, TID251

    torch.manual_seed(seed)
    model = kind._from_config(settings, dtype=torch.float32, attn_implementation="eager")  # noqa: SLF001
    _spread(model, seed)
    return model.float().eval()


def _kind(config: Config, folder: Path) -> tuple[Any, Any]:
    """Return the config as transformers reads it, and the class for it."""
    import transformers  # noqa: PLC0415, TID251

    own = _named(config.get("architectures"))
    readable = dict(config)
    if readable.get("model_type") not in transformers.CONFIG_MAPPING and own is not None:
        readable["model_type"] = own.config_class.model_type  # kimi_k2 and others are DeepSeek V3 by their class
    settings = _read(readable, folder)
    wraps = settings.get_text_config() is not settings
    autos = ("AutoModelForCausalLM", "AutoModelForImageTextToText")
    for name in reversed(autos) if wraps else autos:
        own = own or _auto(name, settings)
    if own is None:
        raise ValueError(f"transformers has no language model class for {type(settings).__name__}")
    _fill(settings)
    return settings, own


def _named(names: object) -> Any:
    """Return the class of transformers that a config names; None if it has no model of this name."""
    import transformers  # noqa: PLC0415, TID251

    for name in names if isinstance(names, list) else []:
        named = getattr(transformers, name, None) if isinstance(name, str) else None
        if isinstance(named, type) and issubclass(named, transformers.PreTrainedModel):
            return named
    return None


def _fill(settings: Any) -> None:
    """Give a small model's config what its class looks for and cannot use as it is."""
    text = settings.get_text_config()
    for part in (settings, text):
        # Some classes have a default beyond the vocabulary of a small model.
        if isinstance(pad := getattr(part, "pad_token_id", None), int) and pad >= VOCABULARY:
            part.pad_token_id = 1
    for key in ("pad_token_id", "vocab_size"):
        # Some wrappers look on top for what their text part says.
        if not hasattr(settings, key):
            setattr(settings, key, getattr(text, key, None))


def _read(config: dict[str, Any], folder: Path) -> Any:
    """Return the config as transformers reads it.

    A whole number where it wants one with a point is what JSON makes of 5.0.
    """
    import transformers  # noqa: PLC0415, TID251

    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(_WHOLE):
        (folder / "config.json").write_text(json.dumps(config))
        try:
            return transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        except Exception as error:
            key = re.search(r"Field '(\w+)' (?:expected float, got int|with value \d+ doesn't match any)", str(error))
            part = next(
                (part for part in (config, *config.values()) if key and isinstance(part, dict) and key[1] in part), None
            )
            if key is None or part is None:
                raise
            part[key[1]] = float(part[key[1]])
    raise ValueError("too many whole numbers in the place of others")


def _auto(name: str, settings: Any) -> Any:
    """Return the class that transformers takes for a config; None if it has none."""
    import transformers  # noqa: PLC0415, TID251

    mapping = getattr(transformers, name)._model_mapping  # noqa: SLF001
    classes = mapping.get(type(settings), None)
    return classes[0] if isinstance(classes, (list, tuple)) else classes


def _spread(model: Any, seed: int) -> None:
    """Give every weight a size that shows, and every bias and norm a value of its own."""
    import torch  # noqa: PLC0415, TID251

    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, weight in [*model.named_parameters(), *model.named_buffers()]:
            if not weight.is_floating_point() or "inv_freq" in name:
                continue
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1 and "conv" not in name and isinstance(weight, torch.nn.Parameter):
                weight.copy_(noise * weight.shape[-1] ** -0.5)
            elif weight.ndim == 1 and weight.numel() > 0:
                owner, _, last = name.rpartition(".")
                # What a class computes anew while it loads is no weight.
                if last not in model.get_submodule(owner)._non_persistent_buffers_set:  # noqa: SLF001
                    weight.add_(noise * _NOISE)


def compare(read: str, folder: str) -> TwinTexts:
    """Return how far `mlx.N.npy` in `read` are from `logits.N.npy` in `folder`, for the short and for the long text."""
    comparisons = []
    for path in sorted(Path(folder).glob("logits.*.npy")):
        ours, theirs = np.load(Path(read) / path.name.replace("logits", "mlx")), np.load(path)
        comparison = Comparison()
        comparison.add(ours, theirs)
        mean_kld, position = _by_position(ours, theirs)
        comparisons.append(TwinText(**vars(comparison.result()), mean_kld=mean_kld, position=position))
    return TwinTexts(
        comparisons, [_of_pictures(Path(read), path) for path in sorted(Path(folder).glob("picture.*.npz"))]
    )


def _of_pictures(read: Path, path: Path) -> TwinPicture:
    """Return how far the logits with pictures are apart, and which part is to blame."""
    theirs, given, file = np.load(path), np.load(read / path.name), read / f"mlx.{path.name}"
    if not file.is_file():
        return TwinPicture(0, None, None, None, "", None, None, int(theirs["pictures"]), "")
    ours, comparison = np.load(file), Comparison()
    comparison.add(ours["logits"], theirs["logits"])
    mean_kld, position = _by_position(ours["logits"], theirs["logits"])
    part = ""
    if position is not None:
        is_image, embedded = given["ids"] == theirs["image"], (ours["embedded"], theirs["embedded"])
        part = part_of(is_image, *embedded, position, int(given["prompt"]))
        if "forward" in theirs and _by_position(ours["logits"], theirs["forward"])[1] is None:
            part = BOTH_WAYS
    found = comparison.result()
    return TwinPicture(**vars(found), mean_kld=mean_kld, position=position, pictures=int(theirs["pictures"]), part=part)


def _by_position(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[float | None, int | None]:
    """Return the mean KL divergence in nats, and the first position whose normalised squared error is over `FIRST`."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return None, None
    read, reference = _log_softmax(ours), _log_softmax(theirs)
    wide = theirs.astype(np.float64)
    errors = np.square(ours - wide).sum(-1) / np.maximum(np.square(wide - wide.mean(-1, keepdims=True)).sum(-1), 1e-30)
    beyond = np.nonzero(errors > FIRST)[0]
    return (
        float((np.exp(reference) * (reference - read)).sum(-1).mean()),
        int(beyond[0]) if len(beyond) else None,
    )


def _log_softmax(values: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = values.astype(np.float64) - values.max(-1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return logs


def logits(model: Any, ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the logits of every position, (positions, vocabulary)."""
    import torch  # noqa: PLC0415, TID251

    with torch.inference_mode():
        output = model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    values: NDArray[np.float32] = output.logits[0].float().numpy()
    return values
