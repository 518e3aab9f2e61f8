import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.federated.secagg.shamir import PRIME, combine, interpolate, lagrange_weights, make_shares


def probably_prime(n: int) -> bool:
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 60):
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        if not any((x := x * x % n) == n - 1 for _ in range(twos - 1)):
            return False
    return True


def test_the_field_is_prime_and_holds_every_32_byte_secret():
    assert probably_prime(PRIME)
    assert not probably_prime(PRIME + 2)
    assert PRIME > 2**256


@pytest.mark.parametrize("threshold", [1, 2, 3, 4, 5])
def test_all_subsets_of_a_small_field_rebuild_and_smaller_ones_do_not_decide(threshold):
    prime, points = 257, [1, 2, 5, 100, 256]
    entropy = random.Random(threshold).randbytes
    for secret in (0, 1, 200, 256):
        shares = make_shares(secret, threshold, points, entropy, prime=prime)
        for subset in combinations(points, threshold):
            chosen = {x: shares[x] for x in subset}
            assert interpolate(chosen, prime=prime) == secret
            assert all(interpolate(chosen, x, prime=prime) == shares[x] for x in points)
        for subset in combinations(points, threshold - 1):
            chosen = {x: shares[x] for x in subset}
            possible = {interpolate({**chosen, 7: value}, prime=prime) for value in range(prime)}
            assert len(possible) == prime


def test_fewer_shares_have_the_same_law_for_every_secret():
    prime, draws = 5, 4000
    laws = []
    for secret in (0, 3):
        entropy = random.Random(secret).randbytes
        drawn = (make_shares(secret, 3, [1, 2, 3, 4], entropy, prime=prime) for _ in range(draws))
        laws.append(Counter((shares[1], shares[4]) for shares in drawn))
    for law in laws:
        assert len(law) == 25
        chi_square = sum((law[cell] - draws / 25) ** 2 / (draws / 25) for cell in law)
        assert chi_square < 51.2  # the 99.9 % point at 24 degrees of freedom


@settings(deadline=None, max_examples=50)
@given(secret=st.integers(0, 2**256 - 1), data=st.data())
def test_any_subset_rebuilds_any_secret(secret, data):
    n = data.draw(st.integers(1, 12))
    threshold = data.draw(st.integers(1, n))
    shares = make_shares(secret, threshold, range(1, n + 1), random.Random(n).randbytes)
    subset = data.draw(st.permutations(range(1, n + 1)))[:threshold]
    assert interpolate({x: shares[x] for x in subset}) == secret


@pytest.mark.parametrize("at", [0, 7])
def test_one_set_of_weights_serves_all_secrets_at_the_same_points(at):
    factors = lagrange_weights([2, 3, 5], at)
    assert sum(factors.values()) % PRIME == 1  # the constant polynomial
    for secret in (0, 1, 2**256 - 1):
        shares = make_shares(secret, 3, range(1, 8), random.Random(secret % 97).randbytes)
        assert combine(factors, shares) == (shares[7] if at == 7 else secret)


@pytest.mark.parametrize(
    ("secret", "threshold", "points"),
    [
        (PRIME, 1, [1]),
        (-1, 1, [1]),
        (0, 0, [1]),
        (0, 3, [1, 2]),
        (0, 2, [0, 1]),
        (0, 2, [1, 1]),
        (0, 1, [PRIME]),
    ],
)
def test_what_is_no_sharing_is_refused(secret, threshold, points):
    with pytest.raises(SettingError, match="expected"):
        make_shares(secret, threshold, points, random.Random(0).randbytes)
