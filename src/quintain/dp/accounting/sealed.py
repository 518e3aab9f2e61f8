"""A checksum in saved states: cutting and editing are noticed, though not a forger who computes it anew."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from quintain.core.errors import PrivacyError

SEAL = "seal"


def sealed(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state with a hash of all of it; it may hold numbers, texts, and lists and dicts of these."""
    return {**state, SEAL: _hash(state)}


def opened(state: object, what: str) -> dict[str, Any]:
    """The content of a sealed state, without its seal.

    Raises:
        PrivacyError: If the seal is missing, or the content is not what was sealed.
    """
    if not isinstance(state, Mapping) or SEAL not in state:
        raise PrivacyError(f"got the state of {what} without its seal; expected all of what state_dict() gave")
    content = {key: value for key, value in state.items() if key != SEAL}
    if _hash(content) != state[SEAL]:
        raise PrivacyError(
            f"got the state of {what} that is not what state_dict() gave: its hash is another; expected it "
            "unchanged, for what is cut from it stays spent"
        )
    return content


def _hash(state: Mapping[str, Any]) -> str:
    text = json.dumps(state, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"quintain.seal").hexdigest()
