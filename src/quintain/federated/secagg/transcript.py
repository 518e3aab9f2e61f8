"""The chain of lists that a round has agreed on; keys, seals and signatures are bound to its end."""

from quintain.federated.secagg.message_bodies import SiteSet, pack_set
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import tagged_hash


def begin(policy: Policy) -> bytes:
    """Begin the hash chain of a round with the policy."""
    return policy.digest()


def append_keys(policy: Policy, key_list: bytes) -> bytes:
    """Append the key list: who takes part, with which keys."""
    return tagged_hash("keys", begin(policy), key_list)


def append_sharers(key_list_hash: bytes, sharers: SiteSet, num_sites: int) -> bytes:
    """Append the sharers: who has shared its secrets."""
    return tagged_hash("shares", key_list_hash, pack_set(sharers, num_sites))


def append_survivors(sharers_hash: bytes, survivors: SiteSet, num_sites: int) -> bytes:
    """Append the survivors: whose vectors are in the sum."""
    return tagged_hash("survivors", sharers_hash, pack_set(survivors, num_sites))
