"""The server's attack: from all that it saw, take every mask off one site's vector that can be taken off.

It is the test of the protocol from the other side. Where the self-mask is missing, a site that was declared silent and then heard after all
is laid open; where mask keys serve twice, what one round reveals opens the next. On the protocol as it is, at least one mask stays on.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.federated.secagg import dealing, masks
from quintain.federated.secagg.encoding import WORD, Words, check_types
from quintain.federated.secagg.primitives import KEY_BYTES, exchange_public
from quintain.federated.secagg.shamir import interpolate
from quintain.federated.view import ServerView


@dataclass(frozen=True, slots=True)
class Recovered:
    """The server's best guess at one site's vector.

    Args:
        site: Whose.
        words: (words,) what is left after all derivable masks are off.
        unknown: The masks that stayed on: "self", or the name of the peer that shares it.
    """

    site: str
    words: Words = field(repr=False)
    unknown: tuple[str, ...]

    def agreement(self, truth: Words) -> float:
        """Share of words that equal the true ones; about 2^-32 for a guess that knows nothing."""
        return float(np.mean(self.words == truth))

    def real(self, view: ServerView) -> NDArray[np.float64]:
        """The guess read as numbers, for a look at it beside the true vector."""
        return view.policy.encoding.real(view.policy.encoding.integers(self.words))


class Attacker:
    """All secrets that the server can derive from what it saw, once for every site; each is tried as a mask key and as a seed.

    Args:
        view: The round.
        earlier: Rounds before it: secrets that they revealed are tried again.
    """

    def __init__(self, view: ServerView, earlier: Sequence[ServerView] = ()) -> None:
        check_types(ServerView, view=view)
        self._view = view
        self._masked, self._keys, self._sharing, self._link = view.masked, view.keys, view.sharing, view.link
        known = {secret for seen in (*earlier, view) for secret in _rebuilt(seen, set(seen.sharing)).values()}
        self._seeds = _opened_seeds(view, known) | _rebuilt(view, set(view.survivors))
        self._private = {exchange_public(secret): secret for secret in known}

    def recover(self, site: str) -> Recovered:
        """Take every mask off one site's vector that can be taken off.

        Raises:
            SettingError: If the server never saw a masked vector of that site; there is nothing to attack.
        """
        roster = self._view.policy.roster
        own = roster.index(site)
        if site not in self._masked:
            raise SettingError(f"the server saw no masked vector of {site!r}; attack one of {', '.join(self._masked) or 'another round'}")
        words = self._masked[site].astype(WORD, copy=True)
        unknown = []
        if own in self._seeds:
            masks.add_self_mask(words, self._seeds[own], self._link, own, remove=True)
        else:
            unknown.append("self")
        for peer in self._sharing:
            if peer == own:
                continue
            mine, theirs = self._keys[own].mask, self._keys[peer].mask
            if mine in self._private:
                masks.add_pair_mask(words, self._private[mine], theirs, self._link, own, peer, remove=True)
            elif theirs in self._private:
                masks.add_pair_mask(words, self._private[theirs], mine, self._link, own, peer, remove=True)
            else:
                unknown.append(roster.names[peer])
        return Recovered(site, words, tuple(unknown))


def recover(view: ServerView, site: str, *, earlier: Sequence[ServerView] = ()) -> Recovered:
    """Attack one site.

    Args:
        view: The round in which the site sent its masked vector.
        site: Its name.
        earlier: Rounds before it: keys that they revealed are tried again.

    Raises:
        SettingError: If the server never saw a masked vector of that site; there is nothing to attack.
    """
    return Attacker(view, earlier).recover(site)


def _opened_seeds(view: ServerView, known: Set[bytes]) -> dict[int, bytes]:
    """The self-mask seeds, by site, that are one of the known secrets, whatever that was meant for: the commitments tell."""
    return {
        site: secret
        for site, committed in view.commitments.items()
        for secret in known
        if dealing.commitment(view.after_keys, site, secret) == committed
    }


def _rebuilt(view: ServerView, sites: Set[int]) -> dict[int, bytes]:
    """The secrets of which enough shares were revealed, by site: the seed of a survivor, the mask key of any other."""
    found = {}
    for site, shares in (view.shares if sites else {}).items():
        if site in sites and len(shares) >= view.policy.threshold:
            secret = interpolate(dict(sorted(shares.items())[: view.policy.threshold]))
            if secret < 1 << (8 * KEY_BYTES):
                found[site] = secret.to_bytes(KEY_BYTES, "big")
    return found
