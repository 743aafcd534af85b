"""The plan of a variant: bits and group size of each module, in a file that a person can read, review, edit and pin."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from mlx_publish.errors import BadInput, in_file
from mlx_publish.methods import wrong_key
from mlx_publish.recipes.faults import bad_input
from mlx_publish.recipes.sections import Strict
from mlx_publish.text.bounds import PLAN_BYTES
from mlx_publish.text.yaml import parse_yaml

SCHEMA = "mlx-publish/quantization-plan/1"
PAGE = "docs/quantization.md"
WHOLE = 16
"""Bits of a module that is stored as it is."""
_NODES = 4_000_000
ModulePath = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[!-~]+$")]
Count = Annotated[int, Field(ge=0, lt=1 << 50)]
Kld = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Columns = Annotated[str, Field(max_length=1 << 21, pattern=r"^[0-9a-z\s]*$")]
Short = Annotated[str, Field(max_length=200)]


class PlannedModule(Strict):
    """A module; all experts of a layer are one."""

    bits: Literal[2, 3, 4, 5, 6, 8, 16]
    group_size: Literal[0, 32, 64, 128] = 0
    """0 where the module is stored as it is."""
    kld: Kld
    kind: Short
    weights: Count
    floor: Literal[2, 3, 4, 5, 6, 8, 16] = 2
    """Fewest bits that it may have."""
    input: Short = ""
    """The key of `importance` by which its scales are chosen; empty for plain rounding."""

    @model_validator(mode="after")
    def _fits(self) -> PlannedModule:
        if self.bits < self.floor:
            raise wrong_key("bits", f"{self.bits} bits are below the floor of this module, {self.floor}")
        if self.bits == WHOLE and self.group_size:
            raise wrong_key("group_size", "a module of 16 bits is stored as it is and has no groups")
        if self.bits != WHOLE and not self.group_size:
            raise wrong_key("group_size", f"{self.bits} bits need a group size: 32, 64 or 128")
        if self.group_size and self.weights % self.group_size:
            raise wrong_key("group_size", f"groups of {self.group_size} do not divide {self.weights:,} weights")
        return self

    @property
    def rung(self) -> str:
        """Return `4/64`; `16/0` for a module that is stored as it is."""
        return f"{self.bits}/{self.group_size}"


class PlannedSource(Strict):
    """What was measured."""

    name: Short
    identity: Short
    """Commit, or the digest of a folder."""


class PlannedCalibration(Strict):
    """The text that was read."""

    text: Short
    """`package`, or the name of the user's file."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    samples: Count
    length: Count
    """Tokens of a sample."""
    seed: int


class Others(Strict):
    """Tensors that are never quantized."""

    weights: Count
    bytes: Count


class Plan(Strict):
    """A plan; its modules stand in the order of the model."""

    source: PlannedSource
    calibration: PlannedCalibration | None = None
    tools: dict[Short, Short] = Field(default_factory=dict, max_length=32)
    target: dict[Short, str | int | float] = Field(max_length=8)
    """The keys of the recipe that asked for it."""
    target_words: Short = ""
    """The same as a person says it: `4.6 bits per weight`."""
    proxy: Short = ""
    """`8bit` where the source's 8-bit form was measured in its place."""
    need_bytes: Count | None = None
    """Of a `fits` target: weights, cache and margin."""
    bits_per_weight: Annotated[float, Field(ge=0, le=64)]
    predicted_kld: Kld
    chosen: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Digest of the bits that the solver chose; another one means that somebody changed some."""
    rounding: Literal["weighted", "nearest"] = "weighted"
    dtype_bytes: Literal[2, 4] = 2
    """Of a scale, a bias, and a number that is not quantized."""
    others: Others
    modules: dict[ModulePath, PlannedModule] = Field(min_length=1, max_length=200_000)
    importance: dict[ModulePath, Columns] = Field(default_factory=dict)
    """By input, for each column a character: steps of the binary logarithm of the mean square of what flows in."""

    @model_validator(mode="after")
    def _inputs_are_there(self) -> Plan:
        for path, module in self.modules.items():
            if module.input and module.input not in self.importance:
                raise wrong_key("importance", f"has no {module.input[:100]}, which {path[:100]} names as its input")
        return self

    @property
    def edited(self) -> bool:
        """Whether bits were changed since the solver chose them; then nobody has predicted anything."""
        return self.chosen != digest_of_choice(self.modules)

    @property
    def weights(self) -> int:
        """How many weights all tensors have."""
        return self.others.weights + sum(module.weights for module in self.modules.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return self.others.bytes + sum(self.module_bytes(module) for module in self.modules.values())

    @property
    def unquantized_bytes(self) -> int:
        """Bytes of all tensors where nothing is quantized."""
        return self.others.bytes + self.dtype_bytes * sum(module.weights for module in self.modules.values())

    @property
    def bits_now(self) -> float:
        """Bits per weight, of the modules as they stand there now."""
        return 8 * self.weight_bytes / (self.weights or 1)

    def module_bytes(self, module: PlannedModule) -> int:
        """Return the bytes of a module with its scales and biases."""
        return stored_bytes(module.weights, module.bits, module.group_size, self.dtype_bytes)


def stored_bytes(weights: int, bits: int, group_size: int, dtype_bytes: int = 2) -> int:
    """Return the bytes of an affine module: packed weights, and a scale and a bias for each group."""
    if bits == WHOLE:
        return weights * dtype_bytes
    return weights * bits // 8 + 2 * dtype_bytes * (weights // group_size)


def digest_of_choice(modules: Mapping[str, PlannedModule]) -> str:
    """Return 16 hex digits of what is chosen for each module."""
    text = "\n".join(f"{path} {module.rung}" for path, module in modules.items())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_plan(path: Path, shown: str = "") -> Plan:
    """Read a plan file. Raises `BadInput` naming file, line and key; `shown` is what messages call the file."""
    name = shown or str(path)
    try:
        with path.open("rb") as file:
            content = file.read(PLAN_BYTES + 1)
        if len(content) > PLAN_BYTES:
            raise BadInput(
                f"is larger than {PLAN_BYTES:,} bytes, which no plan needs", place=name, remedy="Use a plan file."
            )
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"is not UTF-8: {error.reason}", place=in_file(name), remedy="Use a plan file.") from error
    except OSError as error:
        raise BadInput(
            f"cannot be read: {error.strerror}",
            place=name,
            remedy="Correct the path; a run with target_bpw, fits or aim writes plan.yaml into its work folder.",
        ) from error
    return plan_of(text, name)


def plan_of(text: str, name: str) -> Plan:
    """Read the text of a plan file; `name` is what messages call it."""
    data, lines = parse_yaml(text, name, most=_NODES, largest=PLAN_BYTES)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else None
        is_other = f"; its schema is {str(found)[:60]!r}" if found else ""
        raise BadInput(
            f"is not a quantization plan of this version{is_other}",
            place=in_file(name, lines.get("schema", 1)),
            remedy=f"A plan begins with schema: {SCHEMA}; see {PAGE}.",
        )
    try:
        plan = Plan.model_validate({key: value for key, value in data.items() if key != "schema"})
    except ValidationError as error:
        raise bad_input(error.errors(), name, lines, PAGE, Plan) from None
    own = {path: _with_own_input(path, module, plan.importance) for path, module in plan.modules.items()}
    importance = {key: "".join(columns.split()) for key, columns in plan.importance.items()}
    return plan.model_copy(update={"modules": own, "importance": importance})


def _with_own_input(path: str, module: PlannedModule, importance: Mapping[str, str]) -> PlannedModule:
    """Give a module the input of its own name, which the file does not repeat."""
    return module.model_copy(update={"input": path}) if not module.input and path in importance else module
