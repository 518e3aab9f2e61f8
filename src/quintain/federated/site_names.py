"""Names of sites, as people read them: none that is nothing to the eye, and no two that look alike."""

from collections.abc import Iterable

from quintain.core.errors import SettingError
from quintain.federated.visible_text import as_seen


def check_name(name: str) -> None:
    """Refuse a name that is nothing to the eye, or one with something at its ends that nobody sees.

    Raises:
        SettingError: If it is one.
    """
    if not as_seen(name):
        raise SettingError("name is empty; expected the name of this site")
    if name != name.strip():
        raise SettingError(
            f"name = {name!a}; expected no space at an end, which nobody sees: {name.strip()!a}"
        )


def check_distinct(names: Iterable[str]) -> None:
    """Refuse two names that people would take for one another.

    Letters of other alphabets that look the same are not found here: who shows a name shows its escapes too.

    Raises:
        SettingError: Naming the two.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(as_seen(name).casefold(), name)
        if other != name:
            raise SettingError(
                f"the names {other!a} and {name!a} look alike; expected names that nobody takes for one "
                "another: let one of the sites enroll under another name"
            )
