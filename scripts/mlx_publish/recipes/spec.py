"""What a person may write into a recipe: each key with its type, its meaning and how it is given elsewhere.

This is the one home of a key. `recipes.flags` says what is made from it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from mlx_publish.methods import wrong_key
from mlx_publish.recipes import patterns
from mlx_publish.recipes.address import NotAModel, read_address, repo_of
from mlx_publish.recipes.flags import CARD, DESTINATION, PUBLISHING, Asked, Flag
from mlx_publish.recipes.sections import (
    Acceptance,
    CalibrationText,
    CardWords,
    FidelityTest,
    KeptHeads,
    SmokeTest,
    SpeedTest,
    Strict,
    TowersKept,
)
from mlx_publish.recipes.variant import Variant, VariantEntry, all_variants

RepoId = Annotated[str, Field(pattern=patterns.REPO, max_length=96)]


def _of_the_hub(value: object) -> object:
    """Take an address of the Hub for the repo that it means."""
    try:
        return repo_of(value) if isinstance(value, str) else value
    except NotAModel as error:
        raise PydanticCustomError("address", "{reason}", {"reason": str(error)}) from None


ModelId = Annotated[RepoId, BeforeValidator(_of_the_hub)]
"""A repo of the Hub, also as an address that is pasted."""

MOST_VARIANTS = 32
"""Of one recipe: each is a line of every card's table, and a point with a name in its chart."""
DEFAULT_DESTINATION = "folder:published/{source}-MLX-{variant}"
TEXT_DESTINATION = "folder:published/{source}-text-MLX-{variant}"
"""The default of a recipe with `modality: text`."""


class RecipeSpec(Strict):
    """A recipe, from a file or from flags: one model, its variants and their destination."""

    name: Annotated[str | None, Flag("NAME", "Names the work folder (default: the source's name)")] = Field(
        None, pattern=patterns.NAME, max_length=96
    )
    """Names the work folder and the tag. Default: the file name."""
    source: Annotated[
        str,
        BeforeValidator(_of_the_hub),
        Flag("REPO_OR_DIR", "namespace/name on the Hub, or a folder", first=True),
        Asked(
            "`namespace/name` on the Hub. Without a destination, this requests the recipe that has this source; "
            "with one, the pull request adds a new recipe.",
            form="namespace/name on the Hub; the pull request adds a recipe for it",
            call="namespace/name on the Hub",
            pattern=patterns.ASKED_REPO,
            max_length=96,
        ),
    ] = Field(min_length=1, max_length=1000)
    """`namespace/name` on the Hub, or a folder, written as `./path`, `../path`, `/path` or `~/path`."""
    revision: Annotated[
        str | None,
        Flag(
            "SHA",
            "Commit, tag or branch of the source",
            input="Commit (recommended), tag or branch of the source",
            first=True,
        ),
        Asked(
            "Commit, tag or branch of the source. With a recipe, the commit to pin it to.",
            form="Commit of the source (recommended), tag or branch",
            pattern=patterns.ASKED_REVISION,
            max_length=100,
        ),
    ] = Field(None, min_length=1, pattern=patterns.REVISION)
    """Commit (40 hex digits, recommended), tag or branch of the source."""
    adapter: Annotated[
        str | None,
        BeforeValidator(_of_the_hub),
        Flag("REPO_OR_DIR", "Adapter (LoRA or DoRA) to fuse into the source: namespace/name on the Hub, or a folder"),
    ] = Field(None, min_length=1, max_length=1000)
    """Adapter to fuse into the source, which is its base: LoRA or DoRA of PEFT or mlx-lm, as `namespace/name` on the
    Hub or as a folder, written as `./path`. `{source}` then stands for the adapter's name."""
    adapter_revision: Annotated[str | None, Flag("SHA", "Commit, tag or branch of the adapter")] = Field(
        None, min_length=1, pattern=patterns.REVISION
    )
    """Commit (40 hex digits, recommended), tag or branch of the adapter."""
    base_model: Annotated[ModelId | None, Flag("REPO", "Base model that the card names (default: the source repo)")] = (
        None
    )
    """Base model that the card names. Default: the source repo."""
    license: Annotated[
        str | None,
        Flag(
            "ID",
            "Licence, if the source's card has none or a wrong one",
            input="Licence identifier, if the source's card has none or a wrong one",
            group=CARD,
        ),
    ] = Field(None, pattern=patterns.LICENCE)
    """The Hub's licence identifier, such as `apache-2.0`, if the source's card has none or a wrong one."""
    license_name: Annotated[str | None, Flag("TEXT", "Name of the licence 'other'", group=CARD)] = None
    """Name of the licence. Required with `license: other`."""
    license_link: Annotated[str | None, Flag("URL", "Link to the licence 'other'", group=CARD)] = None
    """Link to the text of the licence. Required with `license: other`."""
    language: Annotated[
        list[Annotated[str, Field(pattern=patterns.LANGUAGE)]] | None,
        Flag("CODES", "Languages, such as en,de (default: the source's)", group=CARD),
    ] = None
    """Language codes, such as `en` or `zh-Hans`. Default: those of the source's card."""
    modality: Annotated[
        Literal["text"] | None,
        Flag(
            "text",
            "text: publish only the text part of a source that also takes images or audio",
            input="text publishes only the text part of a source that also takes images or audio",
        ),
        Asked(
            "`text` publishes only the text part of a source that also takes images or audio. Only with source.",
            form="For a source that also takes images or audio: text publishes only its text part",
            choices=("", "text"),
        ),
    ] = None
    """`text` publishes only the text part of a source that also takes images or audio; the destination name must say
    so. Without this key the [whole model](vision.md) is converted, by mlx-vlm."""
    mtp: Annotated[
        KeptHeads | None,
        Flag(
            "keep|BITS",
            "keep: publish the source's multi-token heads as a drafter for mlx-vlm; 8bit quantizes it",
            input="keep publishes the source's multi-token heads as a drafter for mlx-vlm; 8bit quantizes it",
        ),
    ] = None
    """`keep` publishes the source's [multi-token heads](drafter.md) as a drafter for mlx-vlm, in the folder `mtp/` of
    the model, with the source's own numbers; a width such as `8bit`, or a mapping, quantizes it. Without this key they
    are left out."""
    towers: Annotated[
        TowersKept | None,
        Flag(
            "keep|BITS",
            "what sees or hears: keep (unquantized, the default), or a width such as 8bit",
            input="What sees or hears: keep leaves it unquantized (the default), 8bit quantizes its linear layers",
        ),
    ] = None
    """How what sees or hears is kept, where the [whole model](vision.md) is converted: `keep`, the default, leaves its
    numbers as they are; a width such as `8bit`, or a mapping, quantizes its linear layers."""
    stream: Annotated[
        bool | None,
        Flag(
            "BOOL",
            "true converts straight from the Hub, one weight file on the disk at a time "
            "(default: only if the source does not fit)",
        ),
    ] = None
    """`true` converts [straight from the Hub](resources.md#straight-from-the-hub): the disk holds one weight file of
    the source at a time. `false` never does. Default: only if the source does not fit on the disk beside its result."""
    variants: Annotated[
        list[VariantEntry],
        BeforeValidator(all_variants, json_schema_input_type=list[VariantEntry] | Literal["auto"]),
        Flag("NAMES", "Variants by short name, such as 4bit,8bit,bf16; auto makes three by plan", first=True),
        Asked(
            "Short names such as `4bit,8bit`, or a list of them. With a recipe, a selection of its variants.",
            form="Variants to make; all means every variant of the recipe, or 4bit for a source",
            call="Short names separated by commas, such as 4bit,8bit",
            choices=("all", "4bit", "8bit", "4bit,8bit", "4bit,6bit,8bit", "mxfp4", "nvfp4", "bf16", "auto"),
            pattern=patterns.ASKED_VARIANTS,
            max_length=200,
        ),
    ] = Field(default=[Variant.model_construct()], min_length=1, max_length=MOST_VARIANTS)
    """Variants to make. `auto` makes three by plan: `near-identical`, `balanced`, `smallest`. Default: one, `4bit`."""
    to: Annotated[
        str,
        BeforeValidator(_of_the_hub),
        Flag(
            "DEST",
            "namespace/name or folder:PATH, with the placeholders {source}, {variant} and {bits}",
            called="destination",
            first=True,
            group=DESTINATION,
        ),
        Asked(
            "`namespace/name` on the Hub, with the placeholders `{source}`, `{variant}` and `{bits}`. Required with a "
            "source that no recipe has.",
            form="For a source: the destination, such as your-name/{source}-MLX-{variant}",
            pattern=patterns.ASKED_DESTINATION,
            max_length=120,
        ),
    ] = Field(DEFAULT_DESTINATION, min_length=1, max_length=1000)
    """Destination: `namespace/name` or `folder:PATH`, with the placeholders `{source}`, `{variant}` and `{bits}`."""
    private: Annotated[
        bool,
        Flag(
            "BOOL",
            "true creates a new repo as private",
            group=PUBLISHING,
        ),
    ] = False
    """Create the repo as private."""
    adopt: Annotated[
        bool,
        Flag(
            "BOOL",
            "true replaces a repo that was not made from this source",
            group=PUBLISHING,
        ),
    ] = False
    """Publish into an existing repo that was not made from this source."""
    create_pr: Annotated[
        bool,
        Flag(
            "BOOL",
            "true opens a pull request on the Hub instead of committing",
            group=PUBLISHING,
        ),
    ] = False
    """Open a pull request on an existing repo of the Hub instead of committing. No tag is set."""
    collection: Annotated[
        str | None,
        Flag(
            "SLUG",
            "Collection on the Hub to add the repo to",
            input="Collection on the Hub to add each repo to",
            group=PUBLISHING,
        ),
    ] = Field(None, pattern=patterns.COLLECTION, max_length=200)
    """Collection on the Hub to add each repo to: `namespace/slug-id`, the end of the collection's address."""
    read_back: Annotated[
        bool,
        Flag(
            "BOOL",
            "true downloads parts of the upload again and compares them",
            group=PUBLISHING,
        ),
    ] = False
    """After the upload, download parts of the weights and all small files, and compare them with the local ones."""
    accept: list[Acceptance] = Field(default=[])
    """Failed checks to accept."""
    card: CardWords = CardWords.model_construct()
    """Your own text on the card."""
    calibration: CalibrationText = CalibrationText.model_construct()
    """The text that planned and learned variants read."""
    smoke: SmokeTest = SmokeTest.model_construct()
    """How to test the chat template and the answers."""
    fidelity: FidelityTest = FidelityTest.model_construct()
    """How to compare a variant with its source."""
    benchmark: SpeedTest = SpeedTest.model_construct()
    """How to measure its speed."""

    @model_validator(mode="before")
    @classmethod
    def _revision_of_the_address(cls, data: Any) -> Any:
        """Take the revision of a source that is pasted as an address, where none is given."""
        source = data.get("source") if isinstance(data, dict) else None
        try:
            address = read_address(source) if isinstance(source, str) else None
        except NotAModel:  # the key's own validator says so
            return data
        if address is None or not address.revision:
            return data
        given = data.get("revision")
        if given is None:
            return {**data, "revision": address.revision}
        if given != address.revision:
            # Both are somebody's text.
            reason = f"the address contains the revision {address.revision[:100]}, but 'revision' is different"
            raise wrong_key("source", reason)
        return data

    @model_validator(mode="after")
    def _adapter_is_whole(self) -> RecipeSpec:
        if self.adapter_revision and not self.adapter:
            raise wrong_key("adapter_revision", "there is no 'adapter' that it is a revision of")
        return self

    @model_validator(mode="after")
    def _license_is_whole(self) -> RecipeSpec:
        if self.license == "other" and not (self.license_name and self.license_link):
            raise wrong_key("license", "'other' requires license_name and license_link")
        return self
