"""Secrets of sites that the shares which were revealed to the server give."""

from collections.abc import Iterable, Mapping

from quintain.federated.secagg import dealing
from quintain.federated.secagg.primitives import KEY_BYTES
from quintain.federated.secagg.shamir import combine, lagrange_weights
from quintain.federated.secagg.share_messages import DealtShares


def reconstruct_secrets(
    dealt: Mapping[int, DealtShares],
    revealed: Iterable[tuple[int, int, int]],
    threshold: int,
    key_list_hash: bytes,
) -> dict[int, list[bytes]]:
    """Return the secrets of each site of which enough shares were revealed, its self-mask seed first.

    A site may reveal false shares, which would spoil what they are put together with. So shares are told
    apart by the hashes that their dealer signed: those of its seed, those of its mask key, and others, which
    are tried among themselves.

    Args:
        dealt: Site to what it dealt.
        revealed: Dealer, holder and value of each revealed share.
        threshold: Shares that rebuild a secret.
        key_list_hash: Of the round's list of keys.
    """
    shares: dict[tuple[int, int], dict[int, int]] = {}
    for dealer, holder, value in revealed:
        kind = _kind_of_share(dealt.get(dealer), key_list_hash, dealer, holder, value)
        shares.setdefault((dealer, kind), {}).setdefault(holder + 1, value)
    weights: dict[tuple[int, ...], dict[int, int]] = {}
    rebuilt: dict[int, list[bytes]] = {}
    for (dealer, _), by_point in sorted(shares.items()):
        points = tuple(sorted(by_point)[:threshold])
        if len(points) < threshold:
            continue
        if points not in weights:
            weights[points] = lagrange_weights(points)
        secret = combine(weights[points], by_point)
        if secret < 1 << (8 * KEY_BYTES):
            rebuilt.setdefault(dealer, []).append(secret.to_bytes(KEY_BYTES, "big"))
    return rebuilt


def _kind_of_share(
    dealt: DealtShares | None, key_list_hash: bytes, dealer: int, holder: int, value: int
) -> int:
    """Say which signed hash a share has: 0 for that of the seed, 1 for that of the mask key, 2 for none."""
    if dealt is None:
        return 2
    hashes = dealt.hashes(holder)
    for kind, (label, signed) in enumerate((("seed share", hashes.seed), ("key share", hashes.key))):
        if dealing.share_hash(label, key_list_hash, dealer, holder, value) == signed:
            return kind
    return 2
