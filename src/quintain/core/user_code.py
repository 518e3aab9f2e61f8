"""What code that is not ours may raise: a user's model or function, which a run calls in its own process."""

FAILURES = (Exception, SystemExit)
"""Errors of such code, and its ``sys.exit()``, which would end the run with a code that nothing decided."""


def failure_text(error: BaseException) -> str:
    """Return an error of such code in words, on one line: its class, and what it says.

    Args:
        error: One of ``FAILURES``.
    """
    message = " ".join(str(error).split())
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{text} (sys.exit, which would end the whole run)" if isinstance(error, SystemExit) else text
