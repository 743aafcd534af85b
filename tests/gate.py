"""Convert a tiny model through the command line and read what came out with other code than ours."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- the reader of a converted model is mlx-lm itself
import mlx_lm  # noqa: TID251
import numpy as np
import safetensors
from numpy.typing import NDArray

from models import MISSING
from pipeline import Ended, User, checks, digests, leftovers, read_json
from tensor_file import read_tensors, write_tensors
from tiny_tokenizer import write_json

IDS = tuple(range(10, 74))  # a text long enough that a wrong rope shows in its logits
NUMPY = {"BF16": "uint16", "F16": "float16", "F32": "float32", "U32": "uint32", "U8": "uint8"}
Change = Callable[[Path], object]


@dataclass(frozen=True)
class Gate:
    """What a command left of one source in a work folder."""

    ended: Ended
    work: Path
    """The folder of the source's name, with a folder for each variant."""

    @property
    def text(self) -> str:
        """All that was said."""
        return self.ended.text

    def model(self, label: str = "4bit") -> Path:
        """The converted folder of a variant."""
        return self.work / label / "model"

    def config(self, label: str = "4bit") -> dict[str, Any]:
        """Its config.json."""
        return read_json(self.model(label) / "config.json")

    def status(self, label: str = "4bit") -> dict[str, str]:
        """Status of each check of inspect and convert."""
        folder = self.work / label
        return {
            id_: status
            for stage in ("inspect", "convert")
            if (folder / f"{stage}.json").exists()
            for id_, status in checks(folder, stage).items()
        }

    def failed(self, label: str = "4bit") -> list[str]:
        """The checks that refuse a variant."""
        return [id_ for id_, status in self.status(label).items() if status == "fail"]

    def message(self, check: str, label: str = "4bit") -> str:
        """What a check says of a variant."""
        for stage in ("convert", "inspect"):
            path = self.work / label / f"{stage}.json"
            for one in read_json(path)["checks"] if path.exists() else ():
                if one["id"] == check:
                    return str(one["message"])
        raise KeyError(check)


@contextmanager
def untouched(source: Path) -> Iterator[None]:
    """The user's folder is the same afterwards: names, bytes and times."""

    def look() -> tuple[dict[str, str], dict[str, tuple[int, int]]]:
        paths = [source, *source.rglob("*")]
        return digests(source), {str(p): (p.stat().st_mtime_ns, p.stat().st_mode) for p in paths}

    before = look()
    yield
    assert look() == before


def gate(source: Path, *flags: object, code: int = 0, command: str = "convert") -> Gate:
    """Run a command on a folder, in a home and a work folder beside it; the folder stays as it is.

    A refusal leaves no model, names a next step, and nothing is half done.
    """
    place = source.parent
    with untouched(source):
        ended = User(place / "home").run(command, "-v", "--source", source, "--work", place / "work", *flags, code=code)
    made = Gate(ended, place / "work" / source.name)
    assert not leftovers(place)
    if code == 1:
        _refused(made)
    return made


def _refused(made: Gate) -> None:
    fails = 0
    for path in made.work.glob("*/*.json"):
        for check in read_json(path)["checks"]:
            if check["status"] == "fail":
                fails += 1
                assert re.sub(r"\s+", " ", check["remedy"]).strip()[:40] in made.text
                assert not made.model(path.parent.name).exists()
    assert fails


def edit_json(folder: Path, name: str, **keys: object) -> Path:
    """Change keys of a JSON file; `MISSING` takes a key away."""
    path = folder / name
    content = {**(read_json(path) if path.exists() else {}), **keys}
    write_json(path, {key: value for key, value in content.items() if value is not MISSING})
    return folder


def edit_tensors(folder: Path, change: Callable[[dict[str, NDArray[Any]]], object]) -> Path:
    """Change the tensors of model.safetensors."""
    path = folder / "model.safetensors"
    tensors = {name: values.copy() for name, values in read_tensors(path).items()}
    change(tensors)
    write_tensors(path, tensors)
    return folder


def as_transformers5(folder: Path, **rope: object) -> Path:
    """Spell config.json as transformers 5 does: `dtype`, and rope only in `rope_parameters`."""
    config = read_json(folder / "config.json")
    parameters = {"rope_type": "default", "rope_theta": config["rope_theta"], **rope}
    new = {"dtype": config["torch_dtype"], "rope_parameters": parameters}
    old = dict.fromkeys(("torch_dtype", "rope_theta", "rope_scaling"), MISSING)
    return edit_json(folder, "config.json", **old, **new)


def stored(folder: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a folder's weight files by the safetensors library; bfloat16 as its bits, in uint16."""
    found: dict[str, NDArray[Any]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, about in safetensors.deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
            assert name not in found
            bits = np.frombuffer(about["data"], NUMPY[about["dtype"]])
            found[name] = bits.reshape(about["shape"])
    return found


def stored_dtypes(folder: Path) -> dict[str, str]:
    """The type of each tensor by the headers of the weight files."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safetensors.safe_open(str(path), framework="numpy") as file:
            found |= {name: str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118
    return found


def same_tensors(one: Path, other: Path) -> bool:
    """Tell whether two folders hold the same tensors under the same names, in the same types, bit by bit."""
    here, there = stored(one), stored(other)
    assert stored_dtypes(one) == stored_dtypes(other)
    return here.keys() == there.keys() and all(np.array_equal(_bits(here[n]), _bits(there[n])) for n in here)


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return values.view(f"u{values.dtype.itemsize}")


@functools.cache
def loaded(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer as every user of mlx-lm has them."""
    model, tokenizer = mlx_lm.load(str(folder))
    return model, tokenizer


def logits(folder: Path) -> NDArray[np.float32]:
    """Of a fixed text, in float32."""
    model, _ = loaded(folder)
    model.set_dtype(mx.float32)
    return np.array(model(mx.array([IDS])).astype(mx.float32))


def same_files(one: Path, other: Path, *names: str) -> bool:
    """Tell whether files have the same bytes in both folders."""
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def dumps(value: object) -> str:
    """JSON in a fixed order, to compare."""
    return json.dumps(value, sort_keys=True)
