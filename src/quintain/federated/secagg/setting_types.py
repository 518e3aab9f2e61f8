"""Settings of the right type: an integer where one is asked for, and text that can be written."""

from numbers import Integral, Real

from quintain.core.errors import SettingError

_PLAIN: dict[type, type] = {Integral: int, Real: float}
_NUMBERS: dict[type, str] = {Integral: "an integer", Real: "a number"}


def check_integers(**settings: object) -> None:
    """Refuse settings that are no integers, naming the first.

    Raises:
        SettingError: For anything but an integer, of Python's or NumPy's.
    """
    check_types(Integral, **settings)


def check_types(kind: type, **settings: object) -> None:
    """Refuse settings of another type, naming the first.

    Raises:
        SettingError: For anything but ``kind``, to which NumPy's numbers may belong; True and False are no
            numbers, and text is what UTF-8 can write.
    """
    plain = _PLAIN.get(kind, kind)
    for name, value in settings.items():
        # classes of numbers are abstract, and slow to ask
        if type(value) is not plain and (not isinstance(value, kind) or isinstance(value, bool)):
            expected = _NUMBERS.get(kind, f"a value of type {kind.__name__}")
            raise SettingError(
                f"{name} = {value!r}; expected {expected}, not one of type {type(value).__name__}"
            )
        if isinstance(value, str) and not value.isascii() and _has_surrogates(value):
            raise SettingError(
                f"{name} = {value!r}; expected text that UTF-8 can write, without half of a surrogate pair "
                "(as a file's name that is no UTF-8 is read by Python): rename it"
            )


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
