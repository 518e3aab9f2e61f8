"""From the text of a threat to the threat."""

from typing import TYPE_CHECKING

from quintain.core.errors import SettingError
from quintain.core.registry import get_entry
from quintain.core.threat_specs import current_spec

if TYPE_CHECKING:
    from quintain.threats.threat import Threat


def parse(spec: str) -> "Threat":
    """Read a threat from its text; ``parse(threat.spec) == threat``.

    The words of earlier versions are still read.

    Args:
        spec: The registered name of a threat, a colon and its size: ``linf:8/255``, ``l2:0.5``,
            ``linf:0.1[-1.0,1.0]``; ``negative`` has none.

    Raises:
        UnknownNameError: If no threat has this name.
        SettingError: If the size is missing, is not a number, or is one that the threat refuses.
    """
    name, _, text = current_spec(spec).partition(":")
    entry = get_entry("threat", name.strip().lower())
    if not text.strip() and entry.is_true("has_size"):
        raise SettingError(
            f"the threat {spec.strip()!r} has no size; write it after a colon, such as linf:8/255 or l2:0.5"
        )
    threat: Threat = entry.load().from_spec(text)
    return threat
