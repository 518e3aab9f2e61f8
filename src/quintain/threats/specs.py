"""From the text of a threat to the threat."""

from typing import TYPE_CHECKING

from quintain.core.errors import SettingError
from quintain.core.registry import find

if TYPE_CHECKING:
    from quintain.threats.threat import Threat

OLD_NAMES = {"colour": "color", "projection": "light"}
"""Names of threats in earlier versions, which are still read."""


def parse(spec: str) -> "Threat":
    """The threat that a text stands for; ``parse(threat.spec) == threat``.

    Args:
        spec: The registered name of a threat, a colon and its size: ``linf:8/255``, ``l2:0.5``,
            ``linf:0.1[-1.0,1.0]``; ``negative`` has none.

    Raises:
        UnknownName: If no threat has this name.
        SettingError: If the size is missing, is not a number, or is one that the threat refuses.
    """
    name, _, text = spec.strip().partition(":")
    name = name.strip().lower()
    entry = find("threat", OLD_NAMES.get(name, name))
    if not text.strip() and entry.fact("size") != "none":
        raise SettingError(f"the threat {spec.strip()!r} has no size; write it after a colon, such as linf:8/255 or l2:0.5")
    threat: Threat = entry.load().from_spec(text)
    return threat
