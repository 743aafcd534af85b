"""`smoke --template-only`: a look at the chat template of any model folder or repo, without MLX and without weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.table import Table
from rich.text import Text

from mlx_publish.chat.capabilities import Capabilities, capabilities
from mlx_publish.chat.described import described
from mlx_publish.chat.engines import ENGINES
from mlx_publish.chat.engines_look import by_engine
from mlx_publish.chat.look import Look
from mlx_publish.checks.base import Check, run_checks
from mlx_publish.checks.folder import LINKS
from mlx_publish.checks.template import TEMPLATE, safe
from mlx_publish.checks.template_facts import TemplateFacts
from mlx_publish.commands._table import print_plainly
from mlx_publish.errors import BadInput, Refused
from mlx_publish.evidence.report import Finding, verdict_of
from mlx_publish.model.files import FolderFiles, ModelFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.recipes.address import Address, NotAModel, read_address
from mlx_publish.recipes.read import FOLDER, expanded, is_folder
from mlx_publish.text.console import Console
from mlx_publish.text.harmless import plain, shown_json
from mlx_publish.text.nearest import did_you_mean

_SAFE: Check[Look] = Check("template-safe", "It can be rendered safely", "a runner that hangs", safe, safety=True)


def template_only(source: str, revision: str | None, engines: str, console: Console, *, as_json: bool) -> int:
    """Print what the template can do and what is odd about it; return 1 where something of it fails.

    `source` is a folder or a repo at `revision`, `engines` names other template engines, with commas, or `all`.
    """
    chosen = _engines(engines)
    metadata = Metadata(_files(source, revision))
    look, can, findings = _judged(metadata, chosen)
    name = source.rstrip("/").rpartition("/")[2]
    console.heading("smoke", f"{plain(name)} · chat template: {verdict_of(findings)}")
    if can:
        print_plainly(console.out, _table(can, metadata))
    looked = [finding for finding in findings if finding.status != "skip"]
    console.findings(looked)
    if rest := console.rest(looked):
        console.ended("pass", rest)
    if as_json:
        report = {
            "verdict": verdict_of(findings),
            "capabilities": can.to_json() if can else None,
            "checks": [asdict(finding) for finding in findings],
            "dialogues": {name: rendering.to_json() for name, rendering in look.rendered.items()} if look else {},
        }
        print(shown_json(report))
    return int(verdict_of(findings) != "pass")


def _files(source: str, revision: str | None) -> ModelFiles:
    folder = expanded(source)
    if FOLDER.match(source) or is_folder(folder):
        if not is_folder(folder):
            raise BadInput(f"there is no folder {source}", place="--source", remedy="Give a model folder, or a repo.")
        return FolderFiles(folder)
    from mlx_publish.hub.repo import RepoFiles, pinned  # noqa: PLC0415  a folder needs no network

    try:
        address = read_address(source) or Address(source)
    except NotAModel as error:
        raise BadInput(str(error), place="--source", remedy="Write namespace/name of a model.") from None
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", address.repo):
        raise BadInput(f"{source} is neither a folder nor a repo", place="--source", remedy="Write namespace/name.")
    return RepoFiles(address.repo, pinned(address.repo, revision or address.revision or None))


def _engines(names: str) -> tuple[str, ...]:
    chosen = ENGINES if names == "all" else tuple(name.strip() for name in names.split(",") if name.strip())
    if unknown := sorted(set(chosen) - set(ENGINES)):
        raise BadInput(
            f"there is no engine {unknown[0]}{did_you_mean(unknown[0], ENGINES)}",
            place="--engines",
            remedy=f"Write all, or some of {', '.join(ENGINES)}.",
        )
    return chosen


def _judged(metadata: Metadata, engines: Sequence[str]) -> tuple[Look | None, Capabilities | None, tuple[Finding, ...]]:
    """Return the template's look, what it can do, and the findings; what cannot be read is one of them."""
    outside = run_checks((LINKS,), metadata)
    if verdict_of(outside) != "pass":
        return None, None, outside
    try:
        # None where there is neither tokenizer.json nor the older list of tokens that stand for themselves.
        listed = metadata.tokenizer.fast or "added_tokens_decoder" in (metadata.json("tokenizer_config.json") or {})
        look, tokens = metadata.look, metadata.added_tokens if listed else None
    except Refused as error:
        return None, None, (Finding(error.check, "fail", str(error), error.remedy),)
    if empty := metadata.tokenizer.empty:
        message = f"{empty} is empty, and transformers takes it for the chat template all the same"
        return None, None, (Finding("chat-template", "fail", message, "Remove the empty file, or fill it."),)
    if look is None:
        missing = Finding("chat-template", "fail", "there is no chat template", "Take a model that has one.")
        return None, None, (missing,)
    findings = run_checks((_SAFE,), look)
    if verdict_of(findings) != "pass":
        return look, None, findings
    can = capabilities(look)
    way = "native" if can.system in ("native", "merged") else "first-user"
    facts = TemplateFacts(look, can, tokens, way, engines=by_engine(look, engines))
    return look, can, (*findings, *run_checks(TEMPLATE, facts))


def _table(can: Capabilities, metadata: Metadata) -> Table:
    """Return two columns: what a chat may need, and what the template makes of it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    tokenizer = metadata.tokenizer
    where = f"{tokenizer.template_places[0]} ({', '.join(sorted(tokenizer.templates))})"
    for title, value in (("Template", where), *described(can)):
        table.add_row(Text(title), Text(plain(value)))
    return table
