"""A checksum in saved states: it shows cuts and edits, though not a forger who computes it anew."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from quintain.core.errors import PrivacyError

CHECKSUM_KEY = "seal"


def add_checksum(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state with a hash of its content, which may be numbers, texts, and lists and dicts of these."""
    return {**state, CHECKSUM_KEY: _hash(state)}


def verified_content(state: object, what: str) -> dict[str, Any]:
    """The content of a state with a checksum, without the checksum.

    Raises:
        PrivacyError: If the checksum is missing, or is not that of the content.
    """
    if not isinstance(state, Mapping) or CHECKSUM_KEY not in state:
        raise PrivacyError(
            f"got the state of {what} without its checksum; expected all of what state_dict() gave"
        )
    content = {key: value for key, value in state.items() if key != CHECKSUM_KEY}
    if _hash(content) != state[CHECKSUM_KEY]:
        raise PrivacyError(
            f"got the state of {what} that is not what state_dict() gave: its hash is another; expected it "
            "unchanged, for what is cut from it stays spent"
        )
    return content


def _hash(state: Mapping[str, Any]) -> str:
    text = json.dumps(state, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"quintain.seal").hexdigest()
