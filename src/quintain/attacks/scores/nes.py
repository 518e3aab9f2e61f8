"""Natural evolution strategies."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.method import Method
from quintain.attacks.scores.probing import falling, follow, require_probes
from quintain.attacks.search import Search
from quintain.attacks.step import advance
from quintain.core.errors import SettingError
from quintain.models.protocol import Access
from quintain.threats.ball import Room
from quintain.threats.draw import Draw


@dataclass(frozen=True, slots=True)
class NES(Method):
    r"""Projected ascent along a running mean of gradients that pairs of normal probes estimate.

    .. math:: g_t = \mu g_{t-1} + (1 - \mu) \hat g_t, \qquad z_{t+1} = \Pi_x(z_t + s_t), \quad
        s_t = \arg\max_{\|s\| \le \alpha_t} \langle s, g_t \rangle

    with the estimate :math:`\hat g_t` at the current point, and :math:`\alpha_t` falling from ``rate * eps`` to nearly 0.

    Args:
        questions: How often the model is asked about an example, at most; a broken example stops paying.
        pairs: Pairs of probes a step.
        width: Standard deviation of the probes, in the units of the data.
        rate: Length of the first step, as a share of the threat's ``eps``.
        momentum: The memory of the running mean, in [0, 1).

    Raises:
        SettingError: If a number is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Ilyas et al., 2018, arXiv:1804.08598.
    """

    name: ClassVar[str] = "nes"
    access: ClassVar[Access] = "scores"

    questions: int = 5000
    pairs: int = 25
    width: float = 0.01
    rate: float = 0.5
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require_probes(self.questions, self.pairs, self.width, self.rate)
        if not 0 <= self.momentum < 1:
            raise SettingError(f"momentum = {self.momentum}; expected a number in [0, 1), such as 0.9")

    def pursue(self, search: Search) -> None:
        """Estimate and step, from the clean point."""
        threat = search.threat

        def start(clean: Tensor) -> tuple[Tensor, Tensor]:
            return clean, clean.new_zeros(clean.shape)

        def rule(progress: float, state: tuple[Tensor, Tensor], slope: Tensor, clean: Tensor, room: Room) -> tuple[Tensor, Tensor]:
            mean = state[1].lerp(slope.nan_to_num(0.0, 0.0, 0.0), 1 - self.momentum)
            return advance(threat, self.rate * threat.eps * falling(progress), state[0], mean, clean, room), mean

        follow(
            search,
            state=start,
            rule=rule,
            noise=Draw.normal,
            questions=self.questions,
            pairs=self.pairs,
            width=self.width,
            loss=search.goal.margin,
        )
