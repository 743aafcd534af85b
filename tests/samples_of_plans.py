"""Evidence of variants whose bits were chosen or learned, made by hand as that in samples.py."""

from __future__ import annotations

from typing import Any

from mlx_publish.evidence.digests import FileDigest, folder_digest, listing
from samples import FILES, make_evidence, rung

SHA256 = "5" * 64
CALIBRATION = {"text": "package", "sha256": "c" * 64, "samples": 64, "length": 512, "seed": 0}


def group(kind: str, modules: int, weights: int, bits: float, rungs: tuple[str, str], kld: float) -> dict[str, Any]:
    """Modules of one kind in a plan."""
    return {
        "kind": kind,
        "modules": modules,
        "weights": weights,
        "bits_per_weight": bits,
        "least": rungs[0],
        "most": rungs[1],
        "predicted_kld": kld,
    }


PLAN = {
    "file": "quantization-plan.yaml",
    "sha256": SHA256,
    "target": "4.5 bits per weight",
    "bits_per_weight": 4.4931,
    "rounding": "weighted",
    "groups": [
        group("mlp", 90, 79_626_240, 4.21, ("3/64", "6/32"), 0.0143),
        group("attention", 120, 26_542_080, 4.83, ("4/64", "8/64"), 0.0062),
        group("embedding", 1, 28_311_552, 5.12, ("5/64", "5/64"), 0.0021),
    ],
}
QUANTIZATION = {
    "method": "plan",
    "deterministic": True,
    "calibration": CALIBRATION,
    "plan": PLAN,
    "settings": {},
}
CURVE = [
    {"label": label, "weight_bytes": size, "bits_per_weight": bits, "mean_kld": kld, "same_first_choice": same}
    for label, size, bits, kld, same in (
        ("4bit", 75_700_000, 4.5012, 0.04512, 0.9102),
        ("3bit", 58_900_000, 3.5012, 0.2134, 0.7812),
    )
][::-1]
GAIN = {
    "mean_kld": 0.02231,
    "rounding_kld": 0.04553,
    "difference": -0.02322,
    "difference_error": 0.0029,
    "error_factor": 2.03,
    "same_first_choice": 0.9341,
    "rounding_same_first_choice": 0.9099,
    "curve": CURVE,
}


def make_planned(**changes: Any) -> dict[str, Any]:
    """Of a variant that follows a plan, with its gain."""
    found = make_evidence()
    form = {"label": "4.5bpw", "bits": None, "group_size": None, "options": {"target_bpw": 4.5}}
    found["variant"] |= form
    found["destination"] = {"name": "Tiny-4.5bpw", "repo": "acme/Tiny-4.5bpw"}
    files = (*FILES, FileDigest("quantization-plan.yaml", 2, SHA256))
    found["model"] |= {"bits_per_weight": 4.4931, "weight_bytes": 75_561_000}
    found["model"] |= {"files": listing(files), "model": folder_digest(files)}
    found["quantization"] = QUANTIZATION
    found["fidelity"] |= {"mean_kld": 0.02231, "mean_kld_error": 0.0017, "same_first_choice": 0.9341, "gain": GAIN}
    found["ladder"] = [rung("4.5bpw", 75_561_000, 4.4931, 0.02231), rung("8bit", 143_000_000, 8.5012, 0.0031)]
    return found | changes


def make_learned(**changes: Any) -> dict[str, Any]:
    """Of a variant whose scales were learned, on another device than that which is published."""
    found = make_planned()
    found["variant"] |= {"label": "4bit-awq", "bits": 4, "group_size": 64, "options": {"method": "awq"}}
    found["model"] |= {"files": listing(FILES), "model": folder_digest(FILES)}
    found["destination"] = {"name": "Tiny-4bit-awq", "repo": "acme/Tiny-4bit-awq"}
    found["quantization"] = {
        "method": "awq",
        "deterministic": False,
        "calibration": {**CALIBRATION, "text": "notes.txt", "samples": 32, "seed": 7},
        "settings": {"grid": 20},
    }
    found["ladder"] = [rung("4bit-awq", 75_561_000, 4.4931, 0.02231), rung("8bit", 143_000_000, 8.5012, 0.0031)]
    return found | changes
