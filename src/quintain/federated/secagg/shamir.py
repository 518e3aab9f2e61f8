"""Shamir's secret sharing: ``threshold`` shares reconstruct the secret, and fewer reveal nothing."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

from quintain.core.errors import SettingError

PRIME = 2**256 + 297
"""Order of the field, large enough for a secret of 32 bytes."""

SHARE_BYTES = 33
"""Length of a share in bytes."""

Entropy = Callable[[int], bytes]
"""A source of random bytes: it takes their number, as ``secrets.token_bytes`` does."""


def make_shares(
    secret: int, threshold: int, points: Sequence[int], entropy: Entropy, *, prime: int = PRIME
) -> dict[int, int]:
    r"""Return shares of a secret: values of a random polynomial that is the secret at 0.

    .. math:: f(x) = secret + \sum_{k=1}^{t-1} r_k x^k \bmod p, \qquad r_k \text{ uniform}

    Args:
        secret: A number in [0, prime).
        threshold: Number t of shares that reconstruct the secret.
        points: Arguments x of the shares: distinct, in [1, prime).
        entropy: Source of random bytes, such as ``secrets.token_bytes``.
        prime: Order of the field.

    Returns:
        The share f(x) of each point x.

    Raises:
        SettingError: If the secret, the threshold or a point is out of range, or points repeat.

    Guarantee: perfect secrecy below the threshold, if the entropy is uniform. Source: Shamir, 1979.
    """
    if not 0 <= secret < prime:
        raise SettingError("the secret lies outside the field; expected 0 <= secret < prime")
    if (
        not 1 <= threshold <= len(points) < prime
        or len(set(points)) < len(points)
        or any(not 0 < x < prime for x in points)
    ):
        raise SettingError(
            f"threshold {threshold} with {len(points)} points; expected 1 <= threshold <= points, distinct "
            "points in [1, prime)"
        )
    coefficients = [secret, *(_uniform(prime, entropy) for _ in range(threshold - 1))]
    return {x: _evaluate(coefficients, x, prime) for x in points}


def lagrange_weights(points: Sequence[int], at: int = 0, *, prime: int = PRIME) -> dict[int, int]:
    r"""Return the Lagrange weight of each point, for the value of a polynomial at ``at``.

    .. math:: f(at) = \sum_x w_x f(x), \qquad w_x = \prod_{z \ne x} \frac{at - z}{x - z} \bmod p

    The weights depend on the points alone, so that one set serves all secrets with shares at the same points.

    Args:
        points: Distinct arguments x of the shares that are known.
        at: Argument of the wanted value; the secret is at 0.
        prime: Order of the field.
    """
    weight_of = {}
    for x in points:
        others = [other for other in points if other != x]
        numerator = prod((at - other) % prime for other in others) % prime
        denominator = prod((x - other) % prime for other in others) % prime
        weight_of[x] = numerator * pow(denominator, -1, prime) % prime
    return weight_of


def combine(weights: Mapping[int, int], shares: Mapping[int, int], *, prime: int = PRIME) -> int:
    """Return the sum of the shares, each times the weight of its point, modulo ``prime``."""
    return sum(weight * shares[x] for x, weight in weights.items()) % prime


def interpolate(shares: Mapping[int, int], at: int = 0, *, prime: int = PRIME) -> int:
    """Return the value at ``at`` of the polynomial through the shares; at 0 it is the secret."""
    return combine(lagrange_weights(tuple(shares), at, prime=prime), shares, prime=prime)


def random_bytes(entropy: Entropy, size: int) -> bytes:
    """Return ``size`` random bytes, and refuse a source that gives fewer: its secrets could be guessed.

    Raises:
        SettingError: If the source returns anything but ``size`` bytes.
    """
    result: object = entropy(size)
    if not isinstance(result, bytes) or len(result) != size:
        got = f"{len(result)} bytes" if isinstance(result, bytes) else f"a {type(result).__name__}"
        raise SettingError(
            f"the source of entropy gave {got}; expected {size} bytes, as secrets.token_bytes gives them"
        )
    return result


def _uniform(prime: int, entropy: Entropy) -> int:
    """Return a uniform number in [0, prime)."""
    # rejection sampling: numbers of as many bits as the prime, until one is below it
    bits = prime.bit_length()
    size = (bits + 7) // 8
    while True:
        candidate = int.from_bytes(random_bytes(entropy, size), "big") >> (8 * size - bits)
        if candidate < prime:
            return candidate


def _evaluate(coefficients: Sequence[int], x: int, prime: int) -> int:
    """Return the value at ``x`` of the polynomial with these coefficients, the constant one first."""
    # Horner's rule
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % prime
    return value
