"""What a person asks for: the recipe, as written and with its defaults filled in.

`recipe_input` makes a `Recipe` from a YAML file or from flags; this module says what is allowed in one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from mlx_publish.errors import Place
from mlx_publish.recipes import patterns
from mlx_publish.recipes.chat_tests import FidelityTest, SmokeTest, SpeedTest, Strict

__all__ = [
    "DEFAULT_DESTINATION",
    "DTYPE_NAMES",
    "FIXED_MODES",
    "MOST_VARIANTS",
    "TEXT_DESTINATION",
    "Acceptance",
    "CardWords",
    "Destination",
    "FidelityTest",
    "Recipe",
    "RecipeSpec",
    "RepoId",
    "SmokeTest",
    "SpeedTest",
    "Strict",
    "Variant",
]  # fmt: skip

Bits = Literal[2, 3, 4, 5, 6, 8]
GroupSize = Literal[16, 32, 64, 128]
Mode = Literal["affine", "mxfp4", "mxfp8", "nvfp4"]
Mixed = Literal["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"]
Dtype = Literal["bfloat16", "float16", "float32"]
RepoId = Annotated[str, Field(pattern=patterns.REPO, max_length=96)]

# MLX has one bit width and one group size for each of these modes.
FIXED_MODES: Mapping[str, tuple[int, int]] = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
MOST_VARIANTS = 32
"""Of one recipe: each is a line of every card's table, and a point with a name in its chart."""
DTYPE_NAMES: Mapping[str, str] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
DEFAULT_DESTINATION = "folder:published/{source}-MLX-{variant}"
TEXT_DESTINATION = "folder:published/{source}-text-MLX-{variant}"
"""The default of a recipe with `modality: text`."""


def _wrong(key: str, message: str) -> PydanticCustomError:
    """An error at `key` of the mapping being validated; `recipe_input` looks its line up."""
    return PydanticCustomError("variant", "{reason}", {"reason": message, "key": key})


class Variant(Strict):
    """One form of the model: how many bits, in which mode, or unquantized in a dtype."""

    name: str | None = Field(None, pattern=patterns.NAME, max_length=64)
    """Names the variant in the work folder and in `{variant}`; made from the other keys where absent."""
    bits: Bits | None = None
    """Bits of a quantized weight. 4 where nothing else is said."""
    group_size: GroupSize | None = None
    """Weights that share one scale. 64 for affine; the other modes have one each."""
    mode: Mode | None = None
    """How weights are quantized. affine where nothing else is said."""
    mixed: Mixed | None = None
    """One of mlx-lm's mixed recipes, which give the more sensitive layers more bits."""
    dtype: Dtype | None = None
    """Type of what is not quantized; alone, it makes an unquantized variant."""

    @model_validator(mode="after")
    def _options_fit(self) -> Variant:
        fixed = FIXED_MODES.get(self.mode or "affine")
        if self.mixed and fixed:
            raise _wrong("mode", f"the mixed recipes of mlx-lm are affine, not {self.mode}")
        if self.mixed and self.bits:
            raise _wrong("bits", f"{self.mixed} chooses the bits itself; take bits or mixed, not both")
        if fixed and self.bits not in (None, fixed[0]):
            raise _wrong("bits", f"{self.mode} has {fixed[0]} bits, not {self.bits}")
        if fixed and self.group_size not in (None, fixed[1]):
            raise _wrong("group_size", f"{self.mode} has a group size of {fixed[1]}, not {self.group_size}")
        if not fixed and self.group_size == 16:
            raise _wrong("group_size", "affine takes a group size of 32, 64 or 128")
        if self.dtype and self.group_size and not (self.bits or self.mode or self.mixed):
            raise _wrong("group_size", "dtype alone leaves the model unquantized; add bits, mode or mixed")
        return self

    @property
    def quantized(self) -> bool:
        """False where only a dtype is asked for."""
        return bool(self.bits or self.mode or self.mixed or self.group_size or not self.dtype)

    @property
    def q_mode(self) -> str:
        """The mode with its default."""
        return self.mode or "affine"

    @property
    def q_bits(self) -> int | None:
        """The bits with their default; None where there is no single width (unquantized, mixed)."""
        if not self.quantized or self.mixed:
            return None
        return FIXED_MODES[self.q_mode][0] if self.q_mode in FIXED_MODES else self.bits or 4

    @property
    def q_group_size(self) -> int | None:
        """The group size with its default; None where unquantized."""
        if not self.quantized:
            return None
        return FIXED_MODES[self.q_mode][1] if self.q_mode in FIXED_MODES else self.group_size or 64

    @property
    def label(self) -> str:
        """The name of the variant, as `4bit`, `bf16`, `mxfp4`, `4bit-gs32`."""
        return self.name or self._made_name()

    def _made_name(self) -> str:
        if not self.quantized:
            return DTYPE_NAMES[self.dtype or "bfloat16"]
        name = self.mixed or (self.mode if self.q_mode in FIXED_MODES else None) or f"{self.q_bits}bit"
        if self.q_mode not in FIXED_MODES and self.q_group_size != 64:
            name += f"-gs{self.q_group_size}"
        return name + (f"-{DTYPE_NAMES[self.dtype]}" if self.dtype else "")


def _short_variant(value: object) -> object:
    """Read `4bit`, `mxfp4`, `mixed_3_6` or `bf16` where a mapping may stand: forms have one line for it."""
    if not isinstance(value, str):
        return value
    if match := re.fullmatch(r"(\d)bit", value):
        return {"bits": int(match[1])}
    dtypes = {short: full for full, short in DTYPE_NAMES.items()}
    if value in dtypes or value in DTYPE_NAMES:
        return {"dtype": dtypes.get(value, value)}
    if value in get_args(Mixed):
        return {"mixed": value}
    if value not in FIXED_MODES:
        raise PydanticCustomError(
            "variant",
            "no variant is called {value}; a short name is like 4bit, {modes}, {mixed} or {dtypes}",
            {
                # As Python writes it: half of a surrogate pair has no form in UTF-8, which pydantic wants.
                "value": repr(value[:40]),
                "modes": ", ".join(FIXED_MODES),
                "mixed": get_args(Mixed)[0],
                "dtypes": ", ".join(dtypes),
            },
        )
    return {"mode": value}


VariantEntry = Annotated[Variant, BeforeValidator(_short_variant, json_schema_input_type=Variant | str)]


class Acceptance(Strict):
    """A failed check that is let through, with the reason that the card prints."""

    check: str = Field(min_length=1)
    """Its id, as docs/checks.md lists them."""
    reason: str = Field(min_length=8)
    """Why it may be published all the same."""


class CardWords(Strict):
    """A person's own words for the card."""

    notes: str = ""
    """Markdown; stands on the card as a section of its own."""


class RecipeSpec(Strict):
    """The recipe as a file or as flags: one model, its variants, and where they go."""

    name: str | None = Field(None, pattern=patterns.NAME, max_length=96)
    """Names the work folder and the tag; the file's name where absent."""
    source: str = Field(min_length=1, max_length=1000)
    """`namespace/name` on the Hub, or a folder as `./path`, `../path`, `/path` or `~/path`."""
    revision: str | None = Field(None, min_length=1, pattern=patterns.REVISION)
    """Commit (40 hex digits, recommended), tag or branch of the source."""
    base_model: RepoId | None = None
    """What the card names as the base model; the source repo where absent."""
    license: str | None = Field(None, pattern=patterns.LICENCE)
    """SPDX-like identifier of the Hub, for a source whose card has none or a wrong one."""
    license_name: str | None = None
    """Name of the licence, needed where license is `other`."""
    license_link: str | None = None
    """Link to its text, needed where license is `other`."""
    language: list[Annotated[str, Field(pattern=patterns.LANGUAGE)]] | None = None
    """Language codes, as `en` or `zh-Hans`; those of the source's card where absent."""
    modality: Literal["text"] | None = None
    """`text` publishes the text part alone of a source that is made for images or sound, too; the name then has to say
    so. Without it such a source is refused."""
    variants: list[VariantEntry] = Field(default=[Variant()], min_length=1, max_length=MOST_VARIANTS)
    """The forms to make; one of 4 bits where absent."""
    to: str = Field(DEFAULT_DESTINATION, min_length=1, max_length=1000)
    """`namespace/name` or `folder:PATH`; `{source}`, `{variant}` and `{bits}` may stand in it."""
    private: bool = False
    """Make a new repo private."""
    adopt: bool = False
    """Publish into a repo that exists and was not made from this source."""
    create_pr: bool = False
    """Open a pull request on the Hub, on a repo that exists, instead of committing; no tag."""
    collection: str | None = Field(None, pattern=patterns.COLLECTION, max_length=200)
    """Collection on the Hub that each repo is added to, as `namespace/slug-id`, the end of its address."""
    read_back: bool = False
    """After the upload, load some of the bytes once more and compare them with those on the disk."""
    accept: list[Acceptance] = Field(default=[])
    """Failed checks that are let through."""
    card: CardWords = CardWords()
    """A person's own words."""
    smoke: SmokeTest = SmokeTest()
    """What the converted model is asked."""
    fidelity: FidelityTest = FidelityTest()
    """How it is compared with its source."""
    benchmark: SpeedTest = SpeedTest()
    """How its speed is measured."""

    @model_validator(mode="after")
    def _license_is_whole(self) -> RecipeSpec:
        if self.license == "other" and not (self.license_name and self.license_link):
            raise _wrong("license", "'other' needs license_name and license_link beside it")
        return self


@dataclass(frozen=True)
class Destination:
    """Where one variant goes: a repo on the Hub, or a folder."""

    repo: str | None = None
    folder: Path | None = None

    @property
    def name(self) -> str:
        """The last part: the name of the published model."""
        return self.repo.rpartition("/")[2] if self.repo else self.folder.name if self.folder else ""

    @property
    def reviewed_as(self) -> str:
        """Where its card lies below the folder of cards; `local` stands for the namespace of what goes to a folder."""
        return self.repo or f"local/{self.name}"

    def __str__(self) -> str:
        return self.repo or f"folder:{self.folder}"


@dataclass(frozen=True)
class Recipe:
    """A recipe ready to be followed: defaults filled in, paths absolute, where each key stood."""

    spec: RecipeSpec
    name: str
    source_folder: Path | None
    """The source where it is a folder; None where it is a repo."""
    destinations: Mapping[str, Destination]
    """By the variant's label."""
    place: str = ""
    """The file, or the flags, as it is named in messages."""
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Line of each key, by its path as in `variants[0].bits`; empty for flags."""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All variants in the order of the recipe."""
        return tuple(self.spec.variants)

    @property
    def source_name(self) -> str:
        """The last part of the source: `SmolLM2-135M-Instruct`."""
        return self.source_folder.name if self.source_folder else self.spec.source.rpartition("/")[2]

    @property
    def base_model(self) -> str | None:
        """What the card may name as base model: a repo id, or None for a folder nobody named."""
        return self.spec.base_model or (None if self.source_folder else self.spec.source)

    def place_of(self, key: str) -> Place:
        """Return file and line of a key, or just the file where the key was not written."""
        return Place(self.place, self.lines.get(key, 0))

    def accepted(self, check: str) -> str | None:
        """Return the reason for which a failure of `check` is let through, or None."""
        return next((entry.reason for entry in self.spec.accept if entry.check == check), None)

    def digest_of(self, *keys: str) -> dict[str, Any]:
        """The keys of the recipe that a stage depends on, as plain data for its report."""
        data = self.spec.model_dump(mode="json")
        return {key: data[key] for key in keys}
