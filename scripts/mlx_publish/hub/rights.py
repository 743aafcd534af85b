"""Whether the token at hand may publish: asked before the conversion, by calls that only read."""

from __future__ import annotations

from typing import Any

from mlx_publish.errors import Refused
from mlx_publish.hub.client import given_token, hub_api, hub_errors
from mlx_publish.hub.identity import WRITABLE, judge_resource, no_token, resource

_REMEDY = "Set HF_TOKEN to a token with the right for this repo."


def may_publish(repo: str) -> None:
    """Raise `Refused` where it can be known by now that nothing can be published to `repo`.

    Of a trusted publisher only the surroundings are judged: its token is exchanged when it is needed.
    """
    if resource():
        return judge_resource(repo)
    if given_token() is None:
        raise no_token()
    api = hub_api()
    with hub_errors(f"the token for {repo}"):
        who = api.whoami()
        if _role(who) == "read":
            raise Refused(f"this token may only read, and {repo} is to be published", check=WRITABLE, remedy=_REMEDY)
        if api.repo_exists(repo):
            return api.auth_check(repo, write=True)
    names = [str(who.get("name")), *(str(org.get("name")) for org in who.get("orgs") or ())]
    if repo.partition("/")[0].casefold() not in {name.casefold() for name in names}:
        raise Refused(f"this token may not make {repo}: it is of {', '.join(names)}", check=WRITABLE, remedy=_REMEDY)
    return None


def _role(who: dict[str, Any]) -> str:
    return str(((who.get("auth") or {}).get("accessToken") or {}).get("role", ""))
