"""Robust averages over secure sums of groups: the server sees a sum a group, and takes their median.

A median over single updates would need them in the clear. Over sums of fixed groups of at least three sites
it does not: a bad site spoils its group's sum and no other, and a median over the groups follows none that
is less than half of them. What it costs is privacy: the server sees sums of fewer sites. The groups are
blocks of the roster, the same in every round, since sums of changing groups subtract to single updates.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import ProtocolError, SabotageError, SettingError
from quintain.federated.aggregation import Aggregation, Participant, RoundSum
from quintain.federated.fixed_groups import MIN_GROUP_SIZE, MIN_GROUPS, group_policy, groups_of, min_groups
from quintain.federated.hidden import require_hidden
from quintain.federated.robust_averages import RULES
from quintain.federated.secagg import server
from quintain.federated.secagg.collecting import RoundInProgress, RoundOutcome
from quintain.federated.secagg.encoding import EncodedVector
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.message_bodies import SiteSet
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg_sum import SecureSum
from quintain.federated.transport import Exchange
from quintain.federated.unmasking_attack import secrets_of
from quintain.federated.view import ServerView


def robust_aggregation(rule: str, aggregation: Aggregation, num_sites: int | None = None) -> Aggregation:
    """Return the aggregation that takes a robust average over secure sums of groups.

    Args:
        rule: ``median`` or ``trimmed-mean``.
        aggregation: What sums: the secure sum.
        num_sites: How many sites there are; None where only a plan's roster will tell.

    Raises:
        SettingError: If the rule needs single updates, which a secure sum hides; if there are too few sites;
            or for another aggregation.
    """
    if rule == "krum":
        raise SettingError(
            "krum compares single updates with each other, and a secure sum shows the server none; expected "
            f"{' or '.join(RULES)}, over sums of groups"
        )
    if rule not in RULES:
        raise SettingError(f"the robust average {rule!r}; expected {' or '.join(RULES)}")
    if not isinstance(aggregation, SecureSum):
        raise SettingError(
            f"a robust average over {aggregation.name}; expected secagg, whose groups' sums it is taken of"
        )
    if num_sites is not None:
        groups_of(num_sites)
    return GroupedSum(rule)


class GroupedSum(SecureSum):
    """A robust average over the secure sums of fixed groups, in the place of the sum of all.

    What stands for the sum is the robust average of the groups' averages times the number of survivors, on
    the same grid. A group whose sum breaks off, or is beyond the clip of its sites, is left out.

    Args:
        rule: A key of ``RULES``.
        group_size: Of all groups but those that take what is left.

    Raises:
        SettingError: If the rule is unknown.

    A site that is proven to cheat is missing in its group from then on: a group of four sums without it, one
    of three does not.

    Guarantee: that of ``SecureSum`` for each group's sum, which is of fewer sites. The median stands fewer
    bad groups than half of those that are left, the trimmed mean a quarter; a group is bad if one of its
    sites is. Bad sites can still shift it within the spread of the honest groups.
    """

    sums_all: ClassVar[bool] = False

    def __init__(self, rule: str = "median", group_size: int = MIN_GROUP_SIZE) -> None:
        if rule not in RULES:
            raise SettingError(f"rule = {rule!r}; expected {' or '.join(RULES)}")
        self.rule, self.group_size = rule, group_size

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name by which server and clients choose it: rule and group size are in it."""
        return f"secagg-{self.rule}-{self.group_size}"

    @property
    def guarantee(self) -> str:  # type: ignore[override]
        """What it promises, and what it costs."""
        return (
            f"the server learns the sum of each fixed group of at least {self.group_size} sites and nothing "
            f"else of a site's vector, under the terms of secagg in each group; the {self.rule} over the "
            "groups does not follow a few that have a bad site"
        )

    def check_policy(self, policy: Policy) -> None:
        """Refuse terms under which some group could not sum.

        Raises:
            SettingError: If there are too few sites, their weights are unequal, or more of them may side with
                the server than a group stands.
        """
        for members in groups_of(len(policy.roster), self.group_size):
            group_policy(policy, members)

    def shortage(self, policy: Policy, sites: Collection[int]) -> str:
        """Say why too few groups have enough of these sites, or those groups too few sites together.

        Groups are never made anew of the sites that are left: sums of other groups would subtract to single
        updates.
        """
        groups = groups_of(len(policy.roster), self.group_size)
        here = [(len(set(members) & set(sites)), group_policy(policy, members)) for members in groups]
        good = [count for count, one in here if count >= one.min_survivors]
        if len(good) >= min_groups(len(groups)) and sum(good) >= policy.min_survivors:
            return ""
        least = MIN_GROUPS * self.group_size
        reason = (
            f"{len(good)} of {len(groups)} fixed groups have sites enough, {sum(good)} in all; expected "
            f"{min_groups(len(groups))} or more, with min_survivors = {policy.min_survivors} sites in them"
        )
        if len(sites) < least:
            return f"{reason}. A roster of {least} sites or more has groups enough; fewer have a plain mean"
        return f"{reason}. A new roster of the {len(sites)} sites has new groups"

    def join(
        self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal
    ) -> Participant:
        """Take part in the sum of one's own group."""
        members = self.summed_with(policy.roster.index(identity.name), len(policy.roster))
        return _Member(super().join(group_policy(policy, members), identity, encoded, journal), members)

    def opening(self, policy: Policy) -> bytes:  # noqa: ARG002
        """Return nothing: each group has an offer of its own."""
        return b""

    def sum(self, policy: Policy, transport: Exchange) -> RoundSum:
        """Run the stages of all groups side by side, and take the robust average of what comes out."""
        groups = groups_of(len(policy.roster), self.group_size)
        outcomes, refused, accused = _run_groups(policy, groups, transport)
        good = {}
        for members, outcome in outcomes.items():
            refused |= outcome.refused
            good[members] = policy.encoding.to_signed(outcome.total) / len(outcome.survivors)
        if len(good) < min_groups(len(groups)):
            reason = _too_few(good, groups)
            raise SabotageError(reason, accused) if accused else ProtocolError(reason)
        survivors = tuple(name for members in good for name in outcomes[members].survivors)
        combined = RULES[self.rule](np.stack(list(good.values())))
        return RoundSum(
            integers=np.rint(combined * len(survivors)).astype(np.int64),
            survivors=survivors,
            dropped=tuple(name for name in policy.roster.names if name not in survivors),
            refused=refused,
            accused=accused,
        )

    def reference(self, policy: Policy, encoded: Mapping[str, EncodedVector]) -> NDArray[np.int64]:
        """Return what the robust average of the survivors' own vectors is."""
        averages = []
        for members in groups_of(len(policy.roster), self.group_size):
            names = [name for name in policy.roster.names_of(members) if name in encoded]
            if names:
                total = sum(policy.encoding.to_signed(encoded[name]) for name in names)
                averages.append(np.asarray(total) / len(names))
        return np.rint(RULES[self.rule](np.stack(averages)) * len(encoded)).astype(np.int64)

    def protocol(self, num_sites: int, threshold: int) -> str:
        """Say for the record how the sum was made."""
        groups = groups_of(num_sites, self.group_size)
        return f"{self.rule} over {len(groups)} groups of secure sums; in each, Bonawitz et al. 2017, of " + (
            ", ".join(str(len(members)) for members in groups) + f" clients; plan's threshold {threshold}"
        )

    def summed_with(self, site: int, num_sites: int) -> tuple[int, ...]:
        """Return the group of a site."""
        return next(group for group in groups_of(num_sites, self.group_size) if site in group)

    def views(self, view: ServerView) -> tuple[ServerView, ...]:
        """Return the server's views of the groups' sums."""
        groups = groups_of(len(view.policy.roster), self.group_size)
        return tuple(_view_of(view, members) for members in groups)

    def check_view(
        self, view: ServerView, truth: Mapping[str, EncodedVector], known_secrets: Collection[bytes]
    ) -> None:
        """Attack the masks of each group, also with what the others revealed."""
        views = self.views(view)
        known = secrets_of(views) | set(known_secrets)
        for one in views:
            require_hidden(one, truth, known_secrets=known)


class _Member:
    """A site's half of its group's sum, which counts the sites of the group from 0.

    Args:
        inner: Its half.
        members: The group, by the roster's indices.
    """

    def __init__(self, inner: Participant, members: tuple[int, ...]) -> None:
        self._inner, self._members = inner, members

    @property
    def survivors(self) -> SiteSet:
        """The sites of the group that this one has signed to be in the sum, by the roster's indices."""
        return tuple(self._members[place] for place in self._inner.survivors)

    def step(self, message: bytes) -> bytes:
        """Return the reply to a message of the server."""
        return self._inner.step(message)


def _run_groups(
    policy: Policy, groups: Sequence[tuple[int, ...]], transport: Exchange
) -> tuple[dict[tuple[int, ...], RoundOutcome], dict[str, str], tuple[str, ...]]:
    """Return the outcomes of groups, why others came to none, and who is proven to have lied."""
    running: dict[tuple[int, ...], RoundInProgress] = {}
    outcomes: dict[tuple[int, ...], RoundOutcome] = {}
    refused: dict[str, str] = {}
    accused: tuple[str, ...] = ()
    outgoing: dict[int, bytes] = {}
    for members in groups:
        running[members], messages = server.open_round(group_policy(policy, members))
        outgoing |= {members[place]: message for place, message in messages.items()}
    while running:
        replies, outgoing = transport.exchange(outgoing), {}
        for members, state in list(running.items()):
            mine = {members.index(site): reply for site, reply in replies.items() if site in members}
            try:
                following, messages = server.step(state, mine)
            except ProtocolError as error:
                # a group that breaks off is left out; the others go on
                del running[members]
                accused += error.accused if isinstance(error, SabotageError) else ()
                refused |= dict.fromkeys(policy.roster.names_of(members), f"its group broke off: {error}")
                continue
            if isinstance(following, RoundInProgress):
                running[members] = following
                outgoing |= {members[place]: message for place, message in messages.items()}
            else:
                del running[members]
                outcomes[members] = following
                accused += following.accused
    return {members: outcomes[members] for members in groups if members in outcomes}, refused, accused


def _too_few(good: Mapping[tuple[int, ...], object], groups: Sequence[object]) -> str:
    return (
        f"{len(good)} of {len(groups)} groups came to a sum; expected at least {MIN_GROUPS} and more than "
        "half, of which a median can be taken: the round is abandoned, start another with a new id"
    )


def _view_of(view: ServerView, members: tuple[int, ...]) -> ServerView:
    """Return what the server saw of one group, whose sites count from 0 there."""
    return ServerView(
        group_policy(view.policy, members),
        tuple(replace(one, site=members.index(one.site)) for one in view.sent if one.site in members),
        tuple(replace(one, site=members.index(one.site)) for one in view.received if one.site in members),
    )
