"""What a server sees of federated training, and how often: the updates of sites, or their sum."""

import copy
from collections.abc import Callable
from typing import Literal, final

from torch import Tensor, nn

from quintain.core.errors import ModelError, SettingError
from quintain.leakage.local_steps import ONE_STEP, LocalSteps
from quintain.leakage.view import AttackerView

UpdateAccess = Literal["update", "sum"]
"""The update of one site, or a sum over several that tells no single one."""

Answer = Callable[[nn.Module], Tensor | None]
"""The mean update (length,) of the sites for a net that is sent to them; None where they refuse it."""


@final
class UpdateView:
    r"""Metered rounds of federated training, as the server sees them.

    An update is :math:`(\theta_\text{old} - \theta_\text{new}) / \eta`, flat in the order of
    ``net.parameters()``: the gradient where a site takes one step. Of several sites it is the mean.
    An honest-but-curious server sends the net that training has come to; a malicious one chooses what it
    sends.

    Args:
        net: The net of the round, in evaluation mode; it is copied, not changed.
        answer: What comes back for a net.
        access: ``update`` of one site, or ``sum`` over several.
        local: How sites train, which is public.
        sites: How many are in the mean.
        examples: How many each of them has.
        choose: Whether the server may send another net than that of the round.
        max_rounds: Most rounds; no limit if not given.

    Raises:
        SettingError: If numbers are impossible.
        ModelError: If the net is in training mode.
    """

    def __init__(
        self,
        net: nn.Module,
        answer: Answer,
        *,
        access: UpdateAccess = "update",
        local: LocalSteps = ONE_STEP,
        sites: int = 1,
        examples: int = 1,
        choose: bool = False,
        max_rounds: int | None = None,
    ) -> None:
        if sites < 1 or examples < 1 or (access == "update" and sites > 1):
            raise SettingError(
                f"sites = {sites}, examples = {examples}, access = {access}; expected at least one of each, "
                "and a sum where there are several sites"
            )
        if net.training:
            raise ModelError("the net is in training mode; call net.eval() first")
        self._net, self._answer = copy.deepcopy(net).requires_grad_(True), answer
        self.access: UpdateAccess = access
        self.local, self.sites, self.examples = local, sites, examples
        self.choose, self.max_rounds = choose, max_rounds
        self.queries = 0

    @property
    def net(self) -> nn.Module:
        """A copy of the net of the round."""
        return copy.deepcopy(self._net)

    @property
    def num_pictures(self) -> int:
        """How many examples are behind an update."""
        return self.sites * self.examples

    def update(self, net: nn.Module | None = None) -> Tensor | None:
        """Return what comes back in a round: (length,), or None where the sites refuse the net.

        Args:
            net: What a malicious server sends; the net of the round if not given.

        Raises:
            SettingError: If the server may not choose the net, or has had all its rounds.
        """
        if net is not None and not self.choose:
            raise SettingError(
                "a net of the server's own was sent by one that is honest but curious; expected a view with "
                "choose=True, or an attack that reads what is sent anyway"
            )
        if self.max_rounds is not None and self.queries >= self.max_rounds:
            raise SettingError(
                f"an attack asked for round {self.queries + 1}; expected at most {self.max_rounds}: it must "
                "keep to its budget"
            )
        self.queries += 1
        return self._answer(self.net if net is None else net)


def require_updates(view: AttackerView, *, attack: str) -> UpdateView:
    """Return a view that is one of updates.

    Raises:
        SettingError: If it is another one.
    """
    if not isinstance(view, UpdateView):
        raise SettingError(
            f"{attack} reads what sites send, and was given a view of {view.access}; expected an UpdateView"
        )
    return view
