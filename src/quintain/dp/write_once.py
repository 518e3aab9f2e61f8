"""Names that stay what they were when they were first set."""

from typing import Any, ClassVar

from quintain.core.errors import PrivacyError


class WriteOnce:
    """Refuses to exchange what the account of privacy rests on."""

    WRITE_ONCE: ClassVar[frozenset[str]]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.WRITE_ONCE and name in self.__dict__:
            raise PrivacyError(
                f"got another {name!r} for a {type(self).__name__}; expected the one that it was made with, which what is "
                "counted rests on: make a fresh engine, and call make_private anew"
            )
        super().__setattr__(name, value)
