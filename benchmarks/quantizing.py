"""How close a plan is to its source, beside plain rounding and `mlx_lm.dynamic_quant` at the same bytes.

    python benchmarks/quantizing.py --source FOLDER [--samples N]

All read the same text for the comparison. `mlx_lm.dynamic_quant` chooses between 3 and 5 bits at 4.5 bits per weight by
the same calibration text, in samples of 512 tokens as it wants them; its own program would fetch a text. Prints a table
in Markdown: bits per weight, mean KL divergence from the source, top-1 agreement, and the seconds that the choice took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import machine_line
from mlx_publish.children.environment import fast_blas
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.evidence.records import to_json
from mlx_publish.source.calibration import package_texts
from mlx_publish.source.logits import texts

ROOT = Path(__file__).parents[1]
TARGETS = (4.5, 3.5)
LENGTH = 512
DYNAMIC = {4.5: (3, 5)}
"""By bits per weight: the widths that dynamic_quant chooses from."""


@dataclass(frozen=True)
class Row:
    """One form of the model."""

    name: str
    folder: Path
    bits_per_weight: float
    seconds: float


def ours(source: Path, folder: Path) -> Iterator[Row]:
    """Convert to 4 and 3 bits and to a plan of the same size each."""
    variants: list[dict[str, Any]] = [{"bits": 4}, {"bits": 3}, *({"target_bpw": target} for target in TARGETS)]
    recipe = {"source": str(source), "license": "apache-2.0", "variants": variants}
    (folder / "r.yaml").write_text(json.dumps(recipe))
    for label in ("4bit", "3bit", *(f"{target:g}bpw" for target in TARGETS)):
        before = time.perf_counter()
        words = [sys.executable, "-m", "mlx_publish", "convert", "--recipe", str(folder / "r.yaml"), "--variant", label]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
        subprocess.run([*words, "--work", str(folder / "work")], check=True, env=environment, stdout=sys.stderr)
        seconds = time.perf_counter() - before
        report = json.loads((folder / "work" / "r" / label / "convert.json").read_text())["result"]
        yield Row(label, folder / "work" / "r" / label / "model", report["bits_per_weight"], seconds)


def theirs(source: Path, folder: Path, target: float, samples: int) -> Row:
    """Let mlx-lm choose, in a process of its own with the BLAS that ours have."""
    blas = fast_blas()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), **({"LD_PRELOAD": str(blas)} if blas else {})}
    before = time.perf_counter()
    words = [sys.executable, __file__, "--source", str(source), "--samples", str(samples)]
    subprocess.run([*words, "--choose", str(target), "--into", str(folder)], check=True, env=environment)
    seconds = time.perf_counter() - before
    return Row("mlx_lm.dynamic_quant", folder, float((folder / "bits").read_text()), seconds)


def choose(source: Path, folder: Path, target: float, samples: int) -> None:
    """Do what `mlx_lm.dynamic_quant` does, in float32: on the CPU products of bfloat16 take a hundred times as long."""
    import mlx.core as mx  # noqa: PLC0415, TID251 -- what is compared with
    from mlx.utils import tree_map  # noqa: PLC0415, TID251
    from mlx_lm.quant import dynamic_quant  # noqa: PLC0415, TID251
    from mlx_lm.utils import compute_bits_per_weight, load, quantize_model, save  # noqa: PLC0415, TID251

    model, tokenizer, config = load(str(source), return_config=True)
    stored = tree_map(lambda array: array, model.parameters())
    model.update(tree_map(lambda array: array.astype(mx.float32), stored))
    text = "\n\n".join(document for kind in package_texts().values() for document in kind if isinstance(document, str))
    ids = tokenizer.encode(text)
    data = mx.array([ids[start : start + LENGTH] for start in range(0, len(ids) - LENGTH, LENGTH)])
    mx.random.seed(0)
    data = data[mx.random.permutation(len(data))[:samples]]
    low, high = DYNAMIC[target]
    found = dict(dynamic_quant.estimate_sensitivities(model, data, low, 64, high, 64, batch_size=2))
    model.update(stored)
    threshold = dynamic_quant.estimate_threshold(model, found, target, low, 64, high, 64)

    def wide(path: str, module: Any) -> bool | dict[str, int]:
        if not hasattr(module, "to_quantized"):
            return False
        return {"bits": high, "group_size": 64} if found[path] > threshold else True

    model, config = quantize_model(model, config, 64, low, quant_predicate=wide)
    bits = compute_bits_per_weight(model)
    save(str(folder), str(source), model, tokenizer, config)  # which lets the weights go
    (folder / "bits").write_text(str(bits))


def compared(source: Path, rows: list[Row], folder: Path) -> Iterator[str]:
    """Read the text of the comparison with the source and with all forms."""
    store, log = folder / "reference", folder / "log"
    run_job(
        Job("reference", {"source": str(source), "texts": to_json(texts()), "tokens": 65536, "store": str(store)}, log),
        print,
    )
    for row in rows:
        job = Job(
            "compare", {"folder": str(row.folder), "label": row.name, "store": str(store)}, log, model=str(row.folder)
        )
        result = run_job(job, lambda _: None)
        yield (
            f"| {row.name} | {row.bits_per_weight:.4f} | {result['mean_kld']:.4f} ± {result['mean_kld_error']:.4f} "
            f"| {result['same_first_choice']:.1%} | {row.seconds:.0f} |"
        )


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=16, help="samples of 512 tokens for dynamic_quant (default: 16)")
    parser.add_argument("--choose", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.choose:
        choose(options.source, options.into, options.choose, options.samples)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = list(ours(options.source.resolve(), folder))
        for target in DYNAMIC:
            into = folder / f"dynamic-{target:g}"
            into.mkdir()
            rows.append(theirs(options.source.resolve(), into, target, options.samples))
        lines = list(compared(options.source.resolve(), rows, folder))
        print(machine_line(), "", "| form | bits per weight | mean KLD | top-1 | seconds |", sep="\n")
        print("| --- | --- | --- | --- | --- |", *lines, sep="\n")


if __name__ == "__main__":
    main()
