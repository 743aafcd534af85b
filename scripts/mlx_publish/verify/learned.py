"""Compare weights that a method learns by their distance from the source: another machine gives other bytes."""

from __future__ import annotations

import math
from pathlib import Path

from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.evidence.measured import Divergence
from mlx_publish.evidence.records import from_json
from mlx_publish.evidence.weight_differences import Closeness
from mlx_publish.source.bounds import bounds, rounded, source_fits
from mlx_publish.source.layout import prepared_source
from mlx_publish.source.logits import SourceLogits
from mlx_publish.text.temporary import TemporaryFolder
from mlx_publish.verify.published import Published
from mlx_publish.verify.weights import is_weight, local


def closeness(context: Context, published: Published) -> Closeness | str:
    """Return how far published weights and those that were just learned are from their source, or why nobody knows.

    Beside the published weights lie the small files of the conversion, which are the same: nothing else that somebody
    published is loaded.
    """
    [variant], fidelity = context.variants, published.evidence.fidelity
    if fidelity is None or fidelity.against.what != "source":
        return "the evidence has no distance from the source"
    if not source_fits(context):
        return "the source does not fit into the memory of this machine"
    made, logits = context.work.model(variant.label), SourceLogits(context)
    if logits.known() is None:
        with prepared_source(context) as prepared:
            logits.read(prepared.links, prepared.source)
    weights = sorted(path for path in published.entries if is_weight(path))
    with TemporaryFolder("published-", context.work.folder) as folder:
        for path in made.rglob("*"):
            if path.is_file() and not is_weight(path.name):
                _link(folder / path.relative_to(made), path)
        for name, place in local(published, weights, context).items():
            _link(folder / name, place)
        theirs, ours = (
            from_json(Divergence, rounded(_run(context, "compare", {"folder": str(place), **asked})))
            for place, asked in (
                (folder, {"label": "the published weights", "store": str(logits.store)}),
                (made, {"label": "the weights made again", "store": str(logits.store)}),
            )
        )
    if theirs.mean_kld is None or ours.mean_kld is None:
        return "some of their logits are no numbers"
    # Measured here, of weights made here: who published others may state any error.
    error = ours.mean_kld_error or 0.0
    if fidelity.plain.get("tokens_sha256") != ours.tokens_sha256:  # as many tokens may be other passages
        error = math.hypot(error, error)
    return Closeness(theirs.mean_kld, ours.mean_kld, fidelity.mean_kld, error)


def _run(context: Context, op: str, arguments: dict[str, object]) -> object:
    job = Job(op, arguments, context.work.source / f"{op}.log", bounds(context))
    return run_job(job, context.console.progress)


def _link(at: Path, to: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(to.resolve())
