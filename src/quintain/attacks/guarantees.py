"""What the result of an attack may be taken for, in the words of ``quintain list``."""

WITNESS = "what it breaks is a witness that can be replayed; what it does not break may still be breakable"
MINIMUM_NORM = "what it breaks is a witness that can be replayed; no smaller change is ruled out"
