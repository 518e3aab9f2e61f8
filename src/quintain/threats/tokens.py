"""From a token to a threat."""

from typing import TYPE_CHECKING

from quintain.core.errors import SettingError
from quintain.core.registry import find

if TYPE_CHECKING:
    from quintain.threats.ball import Threat


def parse(token: str) -> "Threat":
    """The threat that a token stands for; ``parse(threat.token) == threat``.

    Args:
        token: The registered name of a threat, a colon and its size: ``linf:8/255``, ``l2:0.5``, ``linf:0.1[-1.0,1.0]``;
            ``negative`` has none.

    Raises:
        UnknownName: If no threat has this name.
        SettingError: If the size is missing, is not a number, or is one that the threat refuses.
    """
    name, _, size = token.strip().partition(":")
    entry = find("threat", name.strip().lower())
    if not size.strip() and entry.fact("size") != "none":
        raise SettingError(f"the threat {token.strip()!r} has no size; write it after a colon, such as linf:8/255 or l2:0.5")
    threat: Threat = entry.load().from_token(size)
    return threat
