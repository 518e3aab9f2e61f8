"""How the settings of what is kept differ from those of the run that finds it."""

import json
from collections.abc import Mapping


def settings_difference(found: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    """Name each setting that was another one, with both values; empty where none was."""
    return "; ".join(
        f"{key} = {found.get(key)!r}, now {value!r}"
        for key, value in json.loads(json.dumps(wanted)).items()
        if found.get(key) != value
    )
