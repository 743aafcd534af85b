"""The upload with its comparison and its tag, beside a bare `HfApi.upload_folder`, to the loopback Hub of the tests.

    python benchmarks/upload.py [--megabytes N ...] [--rounds N] [--xet]

Both send the same files of random bytes to a new repo, in a process of its own, and take turns: by requests to
the Hub, or with `--xet` into a folder that stands for its storage. Prints a table in Markdown: medians with the lowest
and the highest, and the ratio, which is taken round by round.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hub import Hub
from measuring import machine_line, measure, print_head, ratios, spread

ROOT = Path(__file__).parents[1]
AIM = 1.05
SHARD = 20_000_000
SOURCE = {"name": "Model", "repo": "acme/Model", "base_model": "acme/Model"}
# Both sides import what they need and then are timed as a whole: a start is part of what somebody waits for.
BARE = """
import sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo(sys.argv[2], private=True)
api.upload_folder(repo_id=sys.argv[2], folder_path=sys.argv[1])
"""
OURS = f"""
import sys
from pathlib import Path
from mlx_publish.hub.manifest import manifest
from mlx_publish.hub.publish import Order, publish
folder, repo = sys.argv[1:]
publish(Order(repo, manifest(Path(folder)), {SOURCE}, "all of it", "v1", Path(folder + ".begun")), print)
"""


def make_folder(folder: Path, megabytes: int) -> Path:
    """Shards of random bytes, and the evidence."""
    noise = random.Random(1)  # noqa: S311  no secrets
    count = max(megabytes * 1_000_000 // SHARD, 1)
    folder.mkdir()
    for number in range(1, count + 1):
        (folder / f"model-{number:05}-of-{count:05}.safetensors").write_bytes(noise.randbytes(SHARD))
    (folder / "mlx-publish.json").write_text(json.dumps({"source": SOURCE}))
    return folder


def compare(megabytes: int, rounds: int, *, xet: bool) -> Iterator[str]:
    """The row of one size."""
    taken: dict[str, list[float]] = {BARE: [], OURS: []}
    with tempfile.TemporaryDirectory() as name:
        folder = make_folder(Path(name) / "model", megabytes)
        for number in range(rounds):
            for program, times in taken.items():
                # A Hub of its own: what one side has sent must not spare the other.
                with Hub(Path(name) / f"hub-{number}-{len(times)}-{program == OURS}", xet=xet) as hub:
                    environment = hub.environment("write", Path(name)) | {"PYTHONPATH": str(ROOT / "scripts")}
                    command = [sys.executable, "-c", program, str(folder), "ada/Model"]
                    times.append(measure(command, env=environment, memory=False).seconds)
    bare, ours, ratio = spread(taken[BARE]), spread(taken[OURS]), ratios(taken[OURS], taken[BARE])
    verdict = "" if ratio.median <= AIM else f" (target: {AIM})"
    middle, _, rest = ratio.text("").partition(" ")
    yield f"| {megabytes} MB | {bare.text()} | {ours.text()} | **{middle}** {rest}{verdict} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="*", default=[20, 200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--xet", action="store_true")
    options = parser.parse_args()
    print(f"{machine_line()}\n")
    print_head("size", "upload_folder", "ours", "time")
    for megabytes in options.megabytes:
        for row in compare(megabytes, options.rounds, xet=options.xet):
            print(row, flush=True)


if __name__ == "__main__":
    main()
