"""The server's attack on the masks: from its view, remove every mask of a site's vector that can be removed.

The attack succeeds on three known mistakes: without self-masks, when a site declared dropped delivers its
masked vector late (its pairwise masks were already reconstructed); when mask keys are reused, because a key
reconstructed in one round unmasks another; and when a mask was never put on. On the protocol as implemented,
at least one mask of every vector remains unknown to the server.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.federated.secagg import dealing, masks
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.masks import Stream
from quintain.federated.secagg.primitives import x25519_public
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.view import ServerView


@dataclass(frozen=True, slots=True)
class UnmaskingAttempt:
    """The server's best guess at one site's vector.

    Args:
        site: Its name.
        encoded: (num_words,) the vector after all derivable masks are removed.
        remaining_masks: The masks that remain: "self", or the name of the peer that shares it.
    """

    site: str
    encoded: EncodedVector = field(repr=False)
    remaining_masks: tuple[str, ...]

    def agreement(self, truth: EncodedVector) -> float:
        """Return the fraction of words that equal the true ones.

        It is about 2^-32 for a guess that knows nothing.
        """
        return float(np.mean(self.encoded == truth))

    def decode(self, view: ServerView) -> NDArray[np.float64]:
        """Decode the guess to numbers, to be compared with the true vector."""
        return view.policy.encoding.decode(view.policy.encoding.to_signed(self.encoded))


class MaskAttacker:
    """The secrets that the server can derive from its view; each is tried as a mask key and as a seed.

    Args:
        view: The round.
        known_secrets: What other rounds revealed, and other groups of this one.
    """

    def __init__(self, view: ServerView, known_secrets: Collection[bytes] = ()) -> None:
        check_types(ServerView, view=view)
        self._view = view
        self._keys, self._sharing, self._link = view.keys, view.sharers, view.transcript_hash
        self._graph = view.graph
        rebuilt = view.revealed_secrets
        known = {*known_secrets, *view.all_revealed_secrets}
        # of several secrets with one public key any will do as a private key, and one alone as a seed
        self._private = {_public_key(one): one for one in known}
        # a commitment tells the seed from all else that its shares may give
        self._seeds = {site: rebuilt[site][0] for site in view.survivors if site in rebuilt}
        self._seeds |= _opened_seeds(view, known)

    def attack(self, site: str, vector: EncodedVector | None = None) -> UnmaskingAttempt:
        """Remove every mask of one site's vector that can be removed.

        Args:
            site: Its name.
            vector: (num_words,) one of its masked vectors; None for the first.

        Raises:
            SettingError: If the server never saw a masked vector of that site; there is nothing to attack.
        """
        if vector is None:
            masked = self._view.masked_vectors
            if site not in masked:
                raise SettingError(
                    f"the server saw no masked vector of {site!r}; attack one of "
                    f"{', '.join(masked) or 'another round'}"
                )
            vector = masked[site]
        own, of_pairs, unknown = self._removable(site)
        encoded = vector.astype(WORD_DTYPE, copy=True)
        masks.add_streams(encoded, [*own, *of_pairs])
        return UnmaskingAttempt(site, encoded, unknown)

    def sets_of_masks(self, site: str) -> tuple[list[list[Stream]], list[list[Stream]]]:
        """Return the sets of masks that the server may remove from a site's vector, as streams to be added.

        A site that forgot some of its masks is laid bare by the set of those that it put on alone: what is
        removed and was never there is noise.

        Returns:
            First no mask, the self-mask, all pairwise masks and all of both, as far as they can be derived.
            Then, if several pairwise masks can, each of them alone and all but it, without the self-mask and
            with it.
        """
        own, of_pairs, _ = self._removable(site)
        whole = [[], own, of_pairs, [*own, *of_pairs]]
        alone = [[stream] for stream in of_pairs]
        all_but_it = [[*of_pairs[:place], *of_pairs[place + 1 :]] for place in range(len(of_pairs))]
        with_or_without = [[], own] if own else [[]]
        partial = [[*first, *rest] for first, rest in product(with_or_without, [*alone, *all_but_it])]
        return _without_repeats(whole), _without_repeats(partial) if len(of_pairs) > 1 else []

    def _removable(self, site: str) -> tuple[list[Stream], list[Stream], tuple[str, ...]]:
        """Return the streams that remove a site's self-mask and its pairwise masks, and which remain."""
        roster, link = self._view.policy.roster, self._link
        own = roster.index(site)
        of_self, of_pairs, unknown = [], [], []
        if own in self._seeds:
            of_self = masks.self_streams(self._seeds[own], link, own, remove=True)
        else:
            unknown.append("self")
        # a vector in the place of the site's keys has no mask that anyone could derive
        for peer in self._graph.near(own, self._sharing) if own in self._keys else ():
            if peer == own:
                continue
            mine, theirs = self._keys[own].mask_public, self._keys[peer].mask_public
            if mine in self._private:
                private, public = self._private[mine], theirs
            elif theirs in self._private:
                private, public = self._private[theirs], mine
            else:
                unknown.append(roster.names[peer])
                continue
            of_pairs.append(masks.pair_stream(private, public, link, own, peer, remove=True))
        return of_self, of_pairs, tuple(unknown)


def attack_masks(
    view: ServerView, site: str, *, earlier_views: Sequence[ServerView] = ()
) -> UnmaskingAttempt:
    """Attack one site.

    Args:
        view: The round in which the site sent its masked vector.
        site: Its name.
        earlier_views: Rounds before it: keys that they revealed are tried again.

    Raises:
        SettingError: If the server never saw a masked vector of that site; there is nothing to attack.
    """
    return MaskAttacker(view, secrets_of(earlier_views)).attack(site)


def secrets_of(views: Sequence[ServerView]) -> frozenset[bytes]:
    """Return all secrets that some views reveal."""
    return frozenset().union(*(one.all_revealed_secrets for one in views))


def _without_repeats(sets: list[list[Stream]]) -> list[list[Stream]]:
    return [one for place, one in enumerate(sets) if one not in sets[:place]]


@lru_cache(maxsize=2**16)
def _public_key(revealed: bytes) -> bytes:
    """Return the public key of a revealed secret, which each later round asks for again."""
    return x25519_public(revealed)


def _opened_seeds(view: ServerView, known: Collection[bytes]) -> dict[int, bytes]:
    """Return the self-mask seeds, by site, that are among the known secrets, as the commitments tell."""
    return {
        site: secret
        for site, committed in view.commitments.items()
        for secret in known
        if dealing.seed_commitment(view.key_list_hash, site, secret) == committed
    }
