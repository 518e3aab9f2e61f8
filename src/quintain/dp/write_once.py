"""Attributes that can be set only once."""

from typing import Any, ClassVar

from quintain.core.errors import PrivacyError


class WriteOnce:
    """A mixin that refuses to replace attributes on which the privacy accounting depends."""

    WRITE_ONCE: ClassVar[frozenset[str]]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.WRITE_ONCE and name in self.__dict__:
            raise PrivacyError(
                f"got another {name!r} for a {type(self).__name__}; expected the one that it was made with, "
                "on which the privacy accounting depends: make a new PrivacyEngine and call make_private anew"
            )
        super().__setattr__(name, value)
