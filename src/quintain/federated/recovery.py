"""The server's attack: from all that it saw, take every mask off one site's vector that can be taken off.

It is the test of the protocol from the other side. Where the self-mask is missing, a site that was declared silent and then heard after all
is laid open; where mask keys serve twice, what one round reveals opens the next. On the protocol as it is, at least one mask stays on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.federated.secagg import masks
from quintain.federated.secagg.encoding import WORD, Words
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


def recover(view: ServerView, site: str, *, earlier: Sequence[ServerView] = ()) -> Recovered:
    """Attack one site.

    Args:
        view: The round in which the site sent its masked vector.
        site: Its name.
        earlier: Rounds before it: keys that they revealed are tried again.

    Raises:
        SettingError: If the server never saw a masked vector of that site; there is nothing to attack.
    """
    roster = view.policy.roster
    own = roster.index(site)
    if site not in view.masked:
        raise SettingError(f"the server saw no masked vector of {site!r}; attack one of {', '.join(view.masked) or 'another round'}")
    words = view.masked[site].astype(WORD, copy=True)
    unknown = []

    seed = _seed_of(view, own)
    if seed is None:
        unknown.append("self")
    else:
        masks.add_self_mask(words, seed, view.link, own, remove=True)

    private = {public: secret for seen in (*earlier, view) for public, secret in _mask_keys(seen).items()}
    for peer in view.sharing:
        if peer == own:
            continue
        mine, theirs = view.keys[own].mask, view.keys[peer].mask
        if mine in private:
            masks.add_pair_mask(words, private[mine], theirs, view.link, own, peer, remove=True)
        elif theirs in private:
            masks.add_pair_mask(words, private[theirs], mine, view.link, own, peer, remove=True)
        else:
            unknown.append(roster.names[peer])
    return Recovered(site, words, tuple(unknown))


def _seed_of(view: ServerView, site: int) -> bytes | None:
    """The self-mask seed of a survivor, if enough of its shares were revealed."""
    secret = _rebuilt(view, site) if site in view.survivors else None
    return None if secret is None else secret.to_bytes(KEY_BYTES, "big")


def _mask_keys(view: ServerView) -> dict[bytes, bytes]:
    """Public to private mask keys of those that dropped out, as far as their shares were revealed."""
    found = {}
    for site in set(view.sharing) - set(view.survivors):
        secret = _rebuilt(view, site)
        if secret is not None:
            private = secret.to_bytes(KEY_BYTES, "big")
            found[exchange_public(private)] = private
    return found


def _rebuilt(view: ServerView, site: int) -> int | None:
    shares = view.shares.get(site, {})
    if len(shares) < view.policy.threshold:
        return None
    chosen = dict(sorted(shares.items())[: view.policy.threshold])
    secret = interpolate(chosen)
    return secret if secret < 1 << (8 * KEY_BYTES) else None
