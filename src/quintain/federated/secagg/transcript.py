"""The chain of lists that a round has agreed on so far; keys, seals and signatures are bound to its latest link."""

from quintain.federated.secagg.messages import Members, pack_set
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import bind


def opened(policy: Policy) -> bytes:
    """Link 0: the policy."""
    return policy.digest()


def with_keys(policy: Policy, key_list: bytes) -> bytes:
    """Link 1: who takes part, with which keys."""
    return bind("keys", opened(policy), key_list)


def with_shares(after_keys: bytes, sharing: Members, parties: int) -> bytes:
    """Link 2: who has shared."""
    return bind("shares", after_keys, pack_set(sharing, parties))


def with_survivors(after_shares: bytes, survivors: Members, parties: int) -> bytes:
    """Link 3: whose vectors make the sum."""
    return bind("survivors", after_shares, pack_set(survivors, parties))
