"""Text of others' making, as XML and other formats can hold it: names of models, messages of exceptions."""

import re

_TERMINAL_CODE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def plain_text(text: str) -> str:
    """Return a text without terminal colors and without the characters that XML 1.0 cannot hold."""
    return _NOT_XML.sub("", _TERMINAL_CODE.sub("", text))
