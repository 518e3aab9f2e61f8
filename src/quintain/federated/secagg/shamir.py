"""Shamir's secret sharing in a prime field: ``threshold`` shares give the secret, fewer reveal nothing."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

from quintain.core.errors import SettingError

PRIME = 2**256 + 297
SHARE_BYTES = 33

Entropy = Callable[[int], bytes]


def make_shares(
    secret: int, threshold: int, points: Sequence[int], entropy: Entropy, *, prime: int = PRIME
) -> dict[int, int]:
    r"""Make shares of a secret: values at ``points`` of a random polynomial whose value at 0 is the secret.

    .. math:: f(x) = secret + \sum_{k=1}^{t-1} r_k x^k \bmod p, \qquad r_k \text{ uniform}

    Args:
        secret: In [0, prime).
        threshold: t, how many shares rebuild it.
        points: Where the shares are taken: distinct, none of them 0.
        entropy: Random bytes by number, such as ``secrets.token_bytes``.
        prime: The field.

    Returns:
        Point to value.

    Raises:
        SettingError: If the points or the threshold do not fit.

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


def weights(points: Sequence[int], at: int = 0, *, prime: int = PRIME) -> dict[int, int]:
    r"""Compute Lagrange's weights, by which the shares give the value at ``at``.

    .. math:: f(at) = \sum_x w_x f(x), \qquad w_x = \prod_{z \ne x} \frac{at - z}{x - z} \bmod p

    They depend on the points alone, so that one set serves all secrets whose shares stand at the same points.
    """
    by_point = {}
    for x in points:
        numerator = prod((at - other) % prime for other in points if other != x) % prime
        denominator = prod((x - other) % prime for other in points if other != x) % prime
        by_point[x] = numerator * pow(denominator, -1, prime) % prime
    return by_point


def combine(weights: Mapping[int, int], shares: Mapping[int, int], *, prime: int = PRIME) -> int:
    """Return the value that shares give under the weights of their points."""
    return sum(weight * shares[x] for x, weight in weights.items()) % prime


def interpolate(shares: Mapping[int, int], at: int = 0, *, prime: int = PRIME) -> int:
    """Return the value at ``at`` of the polynomial through the shares; at 0 it is the secret."""
    return combine(weights(tuple(shares), at, prime=prime), shares, prime=prime)


def random_bytes(entropy: Entropy, size: int) -> bytes:
    """Return ``size`` random bytes; a source that gives fewer would make secrets that can be guessed.

    Raises:
        SettingError: If the source gives anything but so many bytes.
    """
    result: object = entropy(size)
    if not isinstance(result, bytes) or len(result) != size:
        got = f"{len(result)} bytes" if isinstance(result, bytes) else f"a {type(result).__name__}"
        raise SettingError(
            f"the source of entropy gave {got}; expected {size} bytes, as secrets.token_bytes gives them"
        )
    return result


def _uniform(prime: int, entropy: Entropy) -> int:
    # rejection sampling: numbers of as many bits as the prime, until one is below it
    bits = prime.bit_length()
    size = (bits + 7) // 8
    while True:
        candidate = int.from_bytes(random_bytes(entropy, size), "big") >> (8 * size - bits)
        if candidate < prime:
            return candidate


def _evaluate(coefficients: Sequence[int], x: int, prime: int) -> int:
    # Horner's rule
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % prime
    return value
