"""A conversion of a model that sees beside `mlx_vlm.convert`, and a prompt with a picture beside `mlx_vlm.generate`.

    python benchmarks/vision.py [--rounds N] [--source FOLDER]

takes a random Qwen3-VL of 0.24 billion parameters, made in the Python that MLX_PUBLISH_REFERENCE_PYTHON names, or
FOLDER. mlx-vlm is that of the Python that MLX_PUBLISH_VISION_PYTHON names. Prints two tables in Markdown. Times are the
median of the rounds with the lowest and the highest, ratios those of the pairs; rounds take turns. Memory is that of a
run before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import Taken, machine_line, measure, print_head, ratios, spread
from mlx_publish.chat.pictures import PICTURES, SIZE
from mlx_publish.children.engine import Children
from mlx_publish.children.environment import fast_blas
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.children.torch import VARIABLE as REFERENCE
from mlx_publish.children.vision import find_vision
from mlx_publish.evidence.records import from_json
from mlx_publish.evidence.speed import Speed

ROOT = Path(__file__).parents[1]
TOKENS = 16
"""That are generated behind the picture."""
RUNS = 3
GENERATE = """
import json, statistics, sys
import mlx.core as mx
from mlx.utils import tree_map
from mlx_vlm import load, stream_generate
from mlx_vlm.prompt_utils import apply_chat_template
folder, picture, question, tokens, runs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
model, processor = load(folder)
if mx.default_device() == mx.cpu:  # which has no fast half precision; our child computes in float32 there, too
    wide = lambda array: array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array
    model.update(tree_map(wide, model.parameters()))
    mx.eval(model.parameters())
prompt = apply_chat_template(processor, model.config, question, num_images=1)
taken = []
for _ in range(runs + 1):
    for said in stream_generate(model, processor, prompt, image=[picture], max_tokens=tokens, temperature=0.0):
        pass
    taken.append([said.prompt_tokens, said.prompt_tokens / said.prompt_tps, said.generation_tps, said.peak_memory])
counts, seconds, rates, memory = zip(*taken[1:])
print(json.dumps([counts[0], statistics.median(seconds), statistics.median(rates), max(memory)]))
"""


@dataclass(frozen=True)
class Prompt:
    """One prompt with a picture: its tokens, seconds until the first one of the answer, tokens a second, and bytes."""

    tokens: int
    seconds: float
    rate: float
    memory: float


def mlx_vlm(source: Path, bits: int, folder: Path, *, memory: bool) -> Taken:
    """One run of mlx-vlm's command line."""
    out = folder / "mlx_vlm"
    command = [str(find_vision().python), "-m", "mlx_vlm", "convert", "--hf-path", str(source), "--mlx-path", str(out)]
    taken = measure([*command, "-q", "--q-bits", str(bits)], memory=memory)
    shutil.rmtree(out)
    return taken


def ours(source: Path, bits: int, folder: Path, *, memory: bool) -> Taken:
    """One run of `convert` with all its checks, in a work folder that is new."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    command = [sys.executable, "-m", "mlx_publish", "convert", "--source", str(source), "--work", str(work)]
    command += ["--variants", f"{bits}bit", "--license", "apache-2.0"]
    return measure(command, env={"PYTHONPATH": str(ROOT / "scripts")}, memory=memory)


def by_mlx_vlm(folder: Path, picture: Path) -> Prompt:
    """Let `mlx_vlm.stream_generate` look at a picture, with the BLAS and on a CPU the type that our children have."""
    blas = fast_blas()
    env = {**os.environ, **({"LD_PRELOAD": str(blas)} if blas else {}), "PYTHONPATH": ""}
    words = [str(find_vision().python), "-c", GENERATE, str(folder), str(picture), PICTURES[0].one.question]
    done = subprocess.run([*words, str(TOKENS), str(RUNS)], env=env, capture_output=True, text=True, check=True)
    tokens, seconds, rate, memory = json.loads(done.stdout.splitlines()[-1])
    return Prompt(tokens, seconds, rate, memory * 1e9)


def by_the_engine(folder: Path, log: Path) -> tuple[Prompt, Speed]:
    """Let the benchmark stage's job do the same."""
    order = {"text": "A text. " * 50, "prompt_tokens": [TOKENS], "generation_tokens": TOKENS, "trials": RUNS}
    with Children() as children:
        children.use("mlx_vlm", find_vision())
        arguments = {"folder": str(folder), **order, "seconds": 60, "picture": True}
        speed = from_json(Speed, run_job(Job("benchmark", arguments, log, children=children), lambda _: None))
    if speed.picture is None:
        raise RuntimeError(f"no picture was timed: {speed.picture_not_measured}")
    seen = speed.picture.with_picture
    rates = (seen.first_token_s.median, seen.generation_tps.median, seen.peak_memory_bytes)
    return Prompt(seen.prompt_tokens, *rates), speed


def conversion(name: str, source: Path, bits: int, rounds: int, folder: Path) -> str:
    """Return the row of the first table."""
    held = [tool(source, bits, folder, memory=True).memory for tool in (mlx_vlm, ours)]
    theirs, mine = [], []
    for _ in range(rounds):
        theirs.append(mlx_vlm(source, bits, folder, memory=False))
        mine.append(ours(source, bits, folder, memory=False))
    seconds = [spread([side.seconds for side in sides]) for sides in (theirs, mine)]
    time = ratios([side.seconds for side in mine], [side.seconds for side in theirs])
    processor = ratios([side.processor for side in mine], [side.processor for side in theirs])
    return (
        f"| {name} | {seconds[0].text()} | {seconds[1].text()} | **{time.median:.2f}** "
        f"({min(time.values):.2f} to {max(time.values):.2f}) | {processor.median:.2f} | {held[0] / 1e6:.0f} MB "
        f"| {held[1] / 1e6:.0f} MB | **{held[1] / held[0]:.2f}** |"
    )


def prompts(name: str, converted: Path, rounds: int, folder: Path) -> Sequence[str]:
    """Return the row of the second table, and a line with the parts of a prompt."""
    picture = folder / "picture.png"
    picture.write_bytes(PICTURES[0].one.file())
    theirs, mine, speeds = [], [], []
    for _ in range(rounds):
        theirs.append(by_mlx_vlm(converted, picture))
        prompt, speed = by_the_engine(converted, folder / "benchmark.log")
        mine.append(prompt)
        speeds.append(speed)
    seconds = [spread([side.seconds for side in sides]) for sides in (theirs, mine)]
    rates = [spread([side.rate for side in sides]) for sides in (theirs, mine)]
    time = ratios([side.seconds for side in mine], [side.seconds for side in theirs])
    row = (
        f"| {name} | {theirs[0].tokens}, {mine[0].tokens} | {seconds[0].text()} | {seconds[1].text()} "
        f"| **{time.median:.2f}** | {rates[0].text('', 1)} | {rates[1].text('', 1)} "
        f"| {theirs[0].memory / 1e6:.0f} MB | {mine[0].memory / 1e6:.0f} MB |"
    )
    pictures = [speed.picture for speed in speeds if speed.picture]
    encoding = spread([one.encode_s.median for one in pictures if one.encode_s])
    alone = spread([one.text_alone.first_token_s.median for one in pictures])
    return row, f"A picture of {SIZE} x {SIZE} takes {encoding.text()} until its embeddings; text alone {alone.text()}."


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="a model that sees, in place of a random one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bits", type=int, default=4)
    options = parser.parse_args()
    print(f"{machine_line()}, mlx-vlm {find_vision().versions['mlx-vlm']}\n")
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name), options.source
        if source is None:
            source = folder / "qwen3_vl"
            script = Path(__file__).with_name("large_vision.py")
            subprocess.run([os.environ[REFERENCE], str(script), str(source)], check=True, capture_output=True)
        title = options.source.name if options.source else "qwen3_vl, 0.24B, random"
        columns = ("model", "mlx-vlm", "mlx-publish", "time", "processor time", "peak memory, mlx-vlm", "mlx-publish")
        print_head(*columns, "memory")
        print(conversion(title, source.resolve(), options.bits, options.rounds, folder), flush=True)
        converted = next((folder / "work").glob(f"*/{options.bits}bit/model"))
        print()
        rates = ("tokens/s, mlx-vlm", "mlx-publish", "peak memory, mlx-vlm", "mlx-publish")
        print_head("model", "tokens of the prompt", "first token, mlx-vlm", "mlx-publish", "time", *rates)
        row, line = prompts(title, converted, options.rounds, folder)
        print(f"{row}\n\n{line}")


if __name__ == "__main__":
    main()
