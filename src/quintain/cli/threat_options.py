"""Parse the threats that ``--threat`` names."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from quintain.core.errors import SettingError
from quintain.core.registry import Entry, by_default_rank, get_entry
from quintain.core.threat_specs import current_spec, threat_name, threat_type

if TYPE_CHECKING:
    from quintain.threats.threat import Threat


def refuse_unknown_threats(specs: Sequence[str]) -> None:
    """Raise for a threat that is not registered, before anything heavy is imported.

    Raises:
        UnknownNameError: If there is one.
    """
    for spec in specs:
        get_entry("threat", threat_name(current_spec(spec)))


def refuse_unsupported_threats(attacks: Sequence[Entry], specs: Sequence[str]) -> None:
    """Raise for a threat that one of the universal attacks does not support.

    Raises:
        SettingError: If there is one, or if an attack takes no threat at all.
    """
    for entry, spec in product(attacks, specs):
        supported = entry.words("supports")
        if not supported:
            raise SettingError(
                f"--threat {spec} with --attack {entry.name}, which bounds its change by settings of its "
                "own: leave --threat out"
            )
        if threat_name(current_spec(spec)) not in supported:
            raise SettingError(
                f"--threat {spec}: {entry.name} does not support it; it supports {', '.join(supported)}"
            )


def parse_threats(specs: Sequence[str]) -> list["Threat"]:
    """Return the threats of one type, sorted by size from the smallest up.

    Raises:
        SettingError: If they are of several types, or several where sizes have no order.
    """
    refuse_unknown_threats(specs)
    from quintain.threats import parse
    from quintain.threats.sizes import sorted_by_size
    from quintain.threats.threat import Threat

    found = [threat for spec in dict.fromkeys(specs) if isinstance(threat := parse(spec), Threat)]
    if len({threat_type(threat.spec) for threat in found}) != 1:
        given = " and ".join(f"--threat {spec}" for spec in specs)
        raise SettingError(
            f"{given} are of different types; one run takes several sizes of one type, such as linf:2/255 "
            "and linf:4/255: run the command once for each type"
        )
    return sorted_by_size(found)


def default_certifier(specs: Sequence[str]) -> Entry:
    """Return the first certifier that handles the threats, or the first of all where there is none."""
    names = {threat_name(current_spec(spec)) for spec in specs}
    ranked = by_default_rank("certifier")
    return next((entry for entry in ranked if names <= set(entry.words("supports"))), ranked[0])


def parse_certifiable_threats(specs: Sequence[str]) -> list["Threat"]:
    """Return the threats as ``parse_threats`` does, each of which a registered certifier must handle.

    Raises:
        SettingError: If no registered certifier handles one, or as ``parse_threats`` says.
    """
    supported = {entry.name: entry.words("supports") for entry in by_default_rank("certifier")}
    found = parse_threats(specs)
    for threat in found:
        name = threat_name(threat.spec)
        if not any(name in names for names in supported.values()):
            certifiers = "; ".join(f"{one}: {', '.join(names)}" for one, names in supported.items())
            raise SettingError(
                f"no certifier handles {name} ({certifiers}); use one of these, or 'quintain attack --threat "
                f"{threat.spec}'"
            )
    return found
