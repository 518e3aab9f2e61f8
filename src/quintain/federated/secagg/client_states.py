"""The states of a site in one round, each with what it still needs and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity, RoundKeys
from quintain.federated.secagg.mask_graph import MaskGraph
from quintain.federated.secagg.message_bodies import SiteSet
from quintain.federated.secagg.messages import MessageType, from_site
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.secret import HeldVector, LoadedKeys, Secret
from quintain.federated.secagg.shamir import Entropy


@dataclass(frozen=True, slots=True)
class RoundContext:
    """The context of a site in a round: what stays the same over all its states."""

    policy: Policy
    identity: Identity
    index: int
    journal: Journal = field(repr=False)
    entropy: Entropy = field(repr=False)

    def reply(
        self,
        kind: MessageType,
        body: bytes | memoryview,
        transcript_hash: bytes,
        *,
        root: bytes | None = None,
    ) -> bytes:
        """A signed message of this site; of shares the root of their hash tree is signed."""
        return from_site(kind, self.policy, self.index, body, transcript_hash, self.identity, root=root)


@dataclass(frozen=True, slots=True)
class Ready:
    """The site has a vector and waits for an offer."""

    context: RoundContext
    encoded: HeldVector


@dataclass(frozen=True, slots=True)
class Joined:
    """Has sent its keys; ``channel_seed`` is that of its private channel keys, which are loaded by peer."""

    context: RoundContext
    encoded: HeldVector
    channel_seed: Secret
    channel_keys: LoadedKeys
    mask_key: Secret
    public_keys: RoundKeys
    signature: bytes


@dataclass(frozen=True, slots=True)
class SharesSent:
    """Has sealed its shares; ``own_share`` holds the one that it keeps.

    ``members`` take part, and ``public_keys`` are those of this site and of its neighbors among them.
    ``channel_secrets`` are those that it has with each of these, in order.
    """

    context: RoundContext
    encoded: HeldVector
    channel_seed: Secret
    channel_secrets: Secret
    mask_key: Secret
    self_mask_seed: Secret
    own_share: Secret
    public_keys: Mapping[int, RoundKeys]
    members: SiteSet
    graph: MaskGraph
    transcript_hash: bytes


@dataclass(frozen=True, slots=True)
class Masked:
    """Has sent its masked vector; ``held_shares`` are of itself and its neighbors that share, in order."""

    context: RoundContext
    held_shares: Secret
    sharers: SiteSet
    graph: MaskGraph
    transcript_hash: bytes


@dataclass(frozen=True, slots=True)
class Agreed:
    """Has signed the survivors."""

    context: RoundContext
    held_shares: Secret
    sharers: SiteSet
    survivors: SiteSet
    signature: bytes
    graph: MaskGraph
    transcript_hash: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """Has answered or complained; nothing secret is left."""

    context: RoundContext


State = Ready | Joined | SharesSent | Masked | Agreed | Done
