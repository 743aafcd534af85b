"""Files of the source by names and sizes alone, judged before anything is read, digested or copied."""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.checks.base import Accepted, Check, Says, failed, passed, run_checks, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.errors import Refused
from mlx_publish.model.files import SMALL
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.names import name_fault, same_on_a_mac, shown
from mlx_publish.model.select import is_legal, is_tokenizer
from mlx_publish.text.numbers import size

_NAMED = 5
_TEMPLATES = "additional_chat_templates/"


def _links(source: Metadata) -> Says:
    """Fail where a link leads out of the folder."""
    if strays := source.strays:
        named = "; ".join(f"{shown(stray.path)} {stray.why}" for stray in strays[:_NAMED])
        more = f"; and {len(strays) - _NAMED} more" if len(strays) > _NAMED else ""
        return failed(
            f"{named}{more}",
            "If the file belongs to the model, replace the link with it (cp -L); otherwise remove the link. "
            "Of links out of a folder only those of the Hub client's own cache are followed.",
        )
    return passed("no link points outside the source")


def _file_names(source: Metadata) -> Says:
    for path in sorted(source.named):
        if fault := name_fault(path):
            return failed(f"the name {shown(path)} {fault}", "Rename the file in the source.")
    if pairs := same_on_a_mac(source.named):
        first, second = map(shown, pairs[0])
        return failed(
            f"{first} and {second} are one file on a Mac, whose file system ignores case",
            "Rename or remove one of them in the source.",
        )
    templates = (path for path in source.entries if path.startswith(_TEMPLATES) and path.endswith(".jinja"))
    if left := [path for path in templates if path.count("/") == 1 and not is_tokenizer(path)]:
        names = ", ".join(map(shown, left[:_NAMED]))
        return warned(f"not copied, because the name is not allowed in a published model: {names}")
    return passed("all names can be published, and no two differ only in case")


def _legal_texts(source: Metadata) -> Says:
    legal = source.legal
    if legal.broken:
        return failed(
            _with_reasons(legal.broken),
            "Replace it with the text itself, as UTF-8, or remove the file from the source; "
            "accept 'legal-texts' in the recipe to publish without it.",
        )
    if legal.left:
        kept = f"; carried over: {', '.join(legal.texts[:_NAMED])}" if legal.texts else ""
        return warned(
            f"left behind: {_with_reasons(legal.left)}{kept}", "Add the licence as LICENSE, LICENSE.txt or LICENSE.md."
        )
    return passed(f"{len(legal.texts)} legal text(s)" if legal.texts else "the source has no legal files")


def _with_reasons(reasons: Mapping[str, str]) -> str:
    named = "; ".join(f"{shown(path)} ({why})" for path, why in list(reasons.items())[:_NAMED])
    return f"{named}; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else named


def _sizes(source: Metadata) -> Says:
    if hollow := source.hollow:
        return failed(
            f"of {shown(hollow[0])} the disk holds next to nothing of its {size(source.entries[hollow[0]].size)}",
            "Complete the download.",
        )
    for path in sorted(source.named - {"README.md"}):
        length = source.entries[path].size
        if length > SMALL and not path.endswith(".safetensors") and not is_legal(path):
            return failed(
                f"{shown(path)} has {length:,} bytes, and a file beside the weights at most {SMALL:,}",
                "Choose a source in which it is smaller.",
            )
    return passed("no file is larger than its kind allows")


LINKS: Check[Metadata] = Check(
    "links-inside", "No link leads out of the source", "publishing a private file", _links, safety=True
)
_BY_NAME: tuple[Check[Metadata], ...] = (
    LINKS,
    Check(
        "file-names",
        "File names are safe to publish",
        "a name that hides or overwrites another file",
        _file_names,
        safety=True,
    ),
    Check(
        "file-sizes",
        "File sizes are plausible for a model",
        "hours of download that fill the disk",
        _sizes,
        safety=True,
    ),
)
_LEGAL: Check[Metadata] = Check(
    "legal-texts", "Licence files are text", "a program published as a licence", _legal_texts
)


def _of_source(check: Check[Metadata]) -> Check[SourceFacts]:
    return Check(check.id, check.title, check.protects, lambda facts: check.run(facts.source), check.safety)


UNREAD: tuple[Check[SourceFacts], ...] = tuple(map(_of_source, _BY_NAME))
LEGAL: tuple[Check[SourceFacts], ...] = (_of_source(_LEGAL),)


def is_refused_unread(source: Metadata, accepted: Accepted) -> bool:
    """Tell whether names, sizes or headers refuse a source already, so that no digest need be taken."""
    try:
        findings = run_checks((*_BY_NAME, _LEGAL), source, accepted)
        return any(finding.status == "fail" for finding in findings) or not source.headers
    except Refused:
        return True
