"""Whether the converted model sees, and what it is shown where it is measured."""

from __future__ import annotations

from hashlib import sha256

from mlx_publish import __version__
from mlx_publish.chat.pictures import PICTURES
from mlx_publish.context import Context
from mlx_publish.evidence.digests import digest_of
from mlx_publish.model.senses import kinds_of
from mlx_publish.source.resolve import converter, metadata_of


def sees(context: Context) -> bool:
    """Return whether the source takes images and its converter keeps what does."""
    return converter(context).senses and "picture" in kinds_of(metadata_of(context).config.raw)


def pictures_digest() -> str:
    """Return a digest of the pictures, the texts behind them and the version that joins them."""
    shown = [
        [contrast.name, contrast.one.question, contrast.one.shows, *(sha256(one.file()).hexdigest() for one in both)]
        for contrast in PICTURES
        for both in [(contrast.one, contrast.other)]
    ]
    return digest_of({"pictures": shown, "mlx-publish": __version__})
