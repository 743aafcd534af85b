"""Pixel values that users get of a converted folder, beside those that transformers makes by the source's files.

Both of drawn pictures, in the Python of the converter: transformers' own image processor by Pillow, without torch.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.pixel_differences import Level, difference
from mlx_publish.engine.showing import reader_of
from mlx_publish.engine.twin_pictures import draw
from mlx_publish.evidence.pixels import PixelsCompared
from mlx_publish.model.files import FolderFiles, read_json_file
from mlx_publish.text.progress import Tell

Arrays = Mapping[str, NDArray[Any]]
PICTURES: Mapping[str, tuple[int, int, str]] = {
    "square": (224, 224, "RGB"),
    "wide": (300, 120, "RGB"),
    "tall": (120, 300, "RGB"),
    "small": (40, 34, "RGB"),
    "large": (640, 480, "RGB"),
    "gray": (90, 70, "L"),
    "transparent": (90, 70, "RGBA"),
}
"""Width, height and mode of what is drawn, by name."""
_FILES = ("preprocessor_config.json", "processor_config.json")
_MOST_BYTES = 512 << 20
_LONGEST = 300


def pixels(source: str, folder: str, aside: str, progress: Tell) -> PixelsCompared:
    """Compare the processor of the converted `folder` with that of the files in `source`; `aside` is an empty folder.

    A transparent picture is told apart: mlx-vlm drops its transparency for every model.
    """
    progress("comparing pixel values")
    try:
        theirs = _transformers(Path(source), Path(aside))
    except Exception as error:  # noqa: BLE001  a processor raises what it likes at a stranger's settings
        needs = "it needs torch" if isinstance(error, ImportError) else _words(error)
        return PixelsCompared(f"transformers' image processor cannot be used here: {needs}", 0, [], False)
    try:
        ours = getattr(reader_of(Path(folder)).processor, "image_processor", None)
    except Exception as error:  # noqa: BLE001  see above
        return PixelsCompared("", 0, [f"the processor cannot be loaded: {_words(error)}"], False)
    if ours is None:
        return PixelsCompared("its processor has no image processor of its own", 0, [], False)
    return _compared(ours, theirs)


def _compared(ours: Any, theirs: Any) -> PixelsCompared:
    level, compared, told, drops = Level.of(theirs), 0, list[str](), False
    for number, (name, (width, height, mode)) in enumerate(PICTURES.items()):
        picture = draw(width, height, number).convert(mode)
        if mode == "RGBA":
            picture.putalpha(draw(width, height, number + 50).convert("L"))
        wanted = _wanted(theirs, picture)
        if wanted is None:
            continue
        words = _differs(ours, picture.convert("RGB"), wanted, level)
        if mode == "RGBA":
            drops = bool(words)
            continue
        compared += 1
        told += [f"{name} picture ({width} x {height}): {words}"] if words else []
    return PixelsCompared("", compared, told, drops)


def _wanted(theirs: Any, picture: Any) -> Arrays | None:
    """Return what transformers makes of a picture; None of one that it does not take, as a gray one."""
    try:
        return _made(theirs, picture)
    except Exception:  # noqa: BLE001  then there is nothing to compare with
        traceback.print_exc()
        return None


def _differs(ours: Any, picture: Any, wanted: Arrays, level: Level) -> str:
    """Return how what users get of a picture differs; mlx-vlm makes every picture RGB before its processor sees it."""
    try:
        return difference(_made(ours, picture), wanted, level)
    except Exception as error:  # noqa: BLE001  see above
        return f"the processor fails: {_words(error)}"


def _transformers(source: Path, aside: Path) -> Any:
    """Return transformers' image processor of the source's files, from which names of code are taken."""
    from transformers import AutoImageProcessor  # noqa: PLC0415

    for name in ("config.json", *_FILES):
        if (content := read_json_file(FolderFiles(source), name)) is not None:
            (aside / name).write_text(json.dumps(_without_code(content)), encoding="utf-8")
    return AutoImageProcessor.from_pretrained(str(aside), backend="pil", trust_remote_code=False, local_files_only=True)


def _without_code(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_code(value) for key, value in content.items() if key != "auto_map"}
    return content


def _made(processor: Any, picture: Any) -> Arrays:
    made = processor(images=[picture], return_tensors="np")
    made = made[0] if isinstance(made, tuple) else made  # Gemma 4's gives the numbers of tokens beside
    named = dict(made) if isinstance(made, Mapping) or hasattr(made, "keys") else {"pixel_values": made}
    arrays = {key: array for key, value in named.items() if (array := _array(value)) is not None}
    if sum(array.nbytes for array in arrays.values()) > _MOST_BYTES:
        raise ValueError("its pixel values take more than 512 MiB")
    return arrays


def _array(value: Any) -> NDArray[Any] | None:
    """Return numbers as an array; a list of one picture's arrays as that of the picture."""
    if isinstance(value, (list, tuple)):
        parts = list(_parts(value))
        same = parts and len({part.shape for part in parts}) == 1
        value = np.stack(parts) if same else None
    if value is None or not hasattr(value, "shape"):
        return None
    array = np.array(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _parts(value: Any) -> Iterator[NDArray[Any]]:
    for item in value:
        if isinstance(item, (list, tuple)) and any(hasattr(part, "shape") for part in item):
            yield from _parts(item)
        elif hasattr(item, "shape") or isinstance(item, (int, list, tuple)):
            yield np.array(item)


def _words(error: Exception) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:_LONGEST]}"
