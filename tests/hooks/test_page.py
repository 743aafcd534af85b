"""docs/hooks.md names what there is, and its examples are valid."""

from __future__ import annotations

import re
from pathlib import Path

from mlx_publish.hooks import HOOKS
from mlx_publish.recipes.policy import PolicySpec, read_policy
from mlx_publish.text.yaml import parse_yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/hooks.md").read_text(encoding="utf-8")
HOOK_BLOCK, POLICY_BLOCK = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_all_hooks_are_named_everywhere() -> None:
    used = parse_yaml(HOOK_BLOCK, "page")[0]["repos"][0]["hooks"]
    assert {one["id"] for one in used} == set(HOOKS)
    for file in (".pre-commit-hooks.yaml", ".pre-commit-config.yaml"):
        data = parse_yaml((ROOT / file).read_text(encoding="utf-8"), file)[0]
        hooks = data if isinstance(data, list) else data["repos"][0]["hooks"]
        assert [one["id"] for one in hooks] == [one["id"] for one in used]
        assert all(one["entry"].endswith(f"hook {one['id']}") and one["require_serial"] for one in hooks)
    assert set(re.findall(r"^\| `(mlx-[a-z-]+)`", PAGE, re.MULTILINE)) == set(HOOKS)


def test_all_keys_of_the_policy_are_named(tmp_path: Path) -> None:
    assert set(re.findall(r"^\| `([a-z_]+)`", PAGE, re.MULTILINE)) == set(PolicySpec.model_fields)
    (tmp_path / "mlx-publish.yaml").write_text(POLICY_BLOCK)
    assert read_policy(tmp_path / "mlx-publish.yaml").spec.namespaces == ["your-name", "your-lab"]
