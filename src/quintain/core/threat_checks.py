"""Check the whole text of a threat by what it says of itself, without importing it."""

import difflib
import math
import re
from collections.abc import Mapping

from quintain.core.errors import SettingError
from quintain.core.registry import Entry, entries, get_entry
from quintain.core.threat_specs import current_spec, parse_number, threat_name

NUMBER, BARE_NUMBER, PAIR, MASK_FILE = "number", "bare-number", "number-x-number", "FILE"
"""What the value of an option may be, beside words: a number, one that may stand first without the option's
name, two numbers, a ``.png`` or ``.npy`` file.
"""

_BOXED = re.compile(r"(?P<size>[^\[\]]*)(?:\[(?P<low>[^,\[\]]+),(?P<high>[^,\[\]]+)\])?")
_JOINT = re.compile(r"\+(?=\s*[a-z])", re.IGNORECASE)


def check_spec(spec: str) -> None:
    """Raise for the text of a threat that no threat can be read from.

    What only the data can tell, such as whether a mask file fits the images, is not looked at.

    Raises:
        UnknownNameError: If no threat has this name.
        SettingError: If the size is missing, no finite number from 0 up, not whole where it is a count; if an
            option or a shape is unknown, missing or given twice; or if the box is none.
    """
    entry = get_entry("threat", threat_name(current_spec(spec)))
    options = _options(entry)
    text = current_spec(spec).partition(":")[2]
    if entry.is_true("joins"):
        for part in _JOINT.split(text):
            check_spec(part)
    elif entry.is_true("parametric"):
        _check_options(spec, _without_box(spec, text), options, entry)
    else:
        shape, colon, size = text.rpartition(":")
        if options and not colon:
            raise _unreadable(spec, entry, "a shape and a size are needed")
        if options:
            _check_value(spec, "shape", shape.strip(), options["shape"], entry)
        elif colon:
            raise _unreadable(spec, entry, f"{shape.strip()!r} stands before the size")
        size = _without_box(spec, size)
        if not size and entry.is_true("has_size"):
            raise _unreadable(spec, entry, "it has no size")
        if size and not entry.is_true("has_size"):
            raise _unreadable(spec, entry, f"{size!r} is no part of it")
        if size and not (_number(spec, size, entry).is_integer() or not entry.is_true("whole_sizes")):
            raise _unreadable(spec, entry, f"{size} is not whole")


def option_names(spec: str) -> tuple[str, ...]:
    """Return the names of the options of a threat; none if no threat has this name."""
    entry = entries("threat").get(threat_name(current_spec(spec)))
    return tuple(_options(entry)) if entry else ()


def _options(entry: Entry) -> dict[str, str]:
    return dict(pair.split("=") for pair in entry.words("options"))


def _without_box(spec: str, text: str) -> str:
    """Return what stands before the data box, which is checked."""
    found = _BOXED.fullmatch(text.strip())
    try:
        is_box = found and parse_number(found["low"] or "0") < parse_number(found["high"] or "1")
    except ValueError:
        is_box = False
    if not found or not is_box:
        raise SettingError(f"the threat {spec.strip()!r} has no data box; expected one such as [-1.0,1.0]")
    return found["size"].strip()


def _check_options(spec: str, text: str, options: Mapping[str, str], entry: Entry) -> None:
    """Check the options of a parametric threat, of which the first may be written without its name."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    seen: set[str] = set()
    for index, part in enumerate(parts):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals and not index and next(iter(options.values()), "") == BARE_NUMBER:
            name, value = next(iter(options)), part
        if name not in options:
            near = difflib.get_close_matches(name, options, 1, 0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise _unreadable(spec, entry, f"{part!r} is none of {', '.join(options) or 'no options'}{hint}")
        if name in seen:
            raise _unreadable(spec, entry, f"{name} is given twice")
        seen.add(name)
        _check_value(spec, name, value, options[name], entry)
    if not parts and entry.is_true("has_size"):
        raise _unreadable(spec, entry, "it has no size")


def _check_value(spec: str, name: str, value: str, kind: str, entry: Entry) -> None:
    """Check the value of one option."""
    if kind in (NUMBER, BARE_NUMBER):
        _number(spec, value, entry)
    elif kind == PAIR:
        down, cross, right = value.partition("x")
        if not cross:
            raise _unreadable(spec, entry, f"{name} = {value!r} is not down x right")
        _number(spec, down, entry)
        _number(spec, right, entry)
    else:
        words = kind.split("|")
        is_file = MASK_FILE in words and value.lower().endswith((".png", ".npy"))
        if value not in words and not is_file:
            near = difflib.get_close_matches(value, words, 1, 0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            known = ", ".join(words).replace(MASK_FILE, "a .png or .npy file")
            raise _unreadable(spec, entry, f"{name} {value!r} is none of {known}{hint}")


def _number(spec: str, text: str, entry: Entry) -> float:
    """Return a size, of a parametric threat also in percent."""
    is_percent = text.endswith("%") and entry.is_true("parametric")
    try:
        size = parse_number(text[:-1] if is_percent else text)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise _unreadable(spec, entry, f"{text.strip()!r} is no finite number from 0 up")
    return size


def _unreadable(spec: str, entry: Entry, reason: str) -> SettingError:
    return SettingError(
        f"the threat {spec.strip()!r} cannot be read: {reason}; expected a form such as "
        f"{entry.fact('example', 'linf:8/255')}"
    )
