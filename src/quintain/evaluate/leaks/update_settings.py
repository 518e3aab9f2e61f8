"""How sites send updates: alone or in a secure sum, clipped, with noise, after local training."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.federated import secure_sum
from quintain.leakage.local_steps import ONE_STEP, LocalSteps, site_update
from quintain.leakage.update_view import Answer
from quintain.models.fingerprint import fingerprint

LOCAL_TRAINING = LocalSteps(learning_rate=0.05, batch_size=4, epochs=2)
"""Four steps over eight pictures."""


@dataclass(frozen=True, slots=True)
class UpdateSetting:
    """How sites send updates, as an attack meets it: a row of the table of attacks and defenses.

    Args:
        title: The defense, in words.
        sites: How many send; more than one go through a secure sum.
        examples: Of each site.
        local: How they train.
        clip: Largest L2 norm of a site's update; longer ones are scaled down to it.
        noise_multiplier: Standard deviation of Gaussian noise on the sum, in units of ``clip``.
        pins: What a site refuses: ``nothing``, ``layers`` (nets of other layers) or ``model`` (all but the
            net that training has come to).
    """

    title: str
    sites: int = 1
    examples: int = 1
    local: LocalSteps = ONE_STEP
    clip: float | None = None
    noise_multiplier: float = 0.0
    pins: str = "nothing"

    def __post_init__(self) -> None:
        if self.noise_multiplier and self.clip is None:
            raise SettingError("noise without a clip; expected one, since noise is in units of it")
        if self.pins not in ("nothing", "layers", "model"):
            raise SettingError(f"pins = {self.pins!r}; expected nothing, layers or model")

    @property
    def num_pictures(self) -> int:
        """How many pictures are behind an update."""
        return self.sites * self.examples

    @property
    def case(self) -> str:
        """What is attacked, and whether it is a worst case or realistic."""
        steps = self.local.num_steps(self.examples)
        words = (
            f"{self.sites} site{'s' * (self.sites > 1)}",
            f"{self.examples} picture{'s' * (self.examples > 1)}{' each' * (self.sites > 1)}",
            f"{steps} local step{'s' * (steps > 1)}",
        )
        return f"{', '.join(words)} ({'closer to practice' if self.is_realistic else 'a worst case'})"

    @property
    def is_realistic(self) -> bool:
        """Whether sites have batches and train locally; an update of one picture or step is a worst case."""
        return self.examples > 1 and self.local.num_steps(self.examples) > 1

    def answer(self, net: nn.Module, x: Tensor, y: Tensor, *, seed: int) -> Answer:
        """Return what comes back to the server for a net that it sends.

        Args:
            net: The net of the round, which sites that pin know.
            x, y: The pictures (sites * examples, *S) and labels of all sites.
            seed: Of the orders of their examples and of the noise.
        """
        home, shapes = fingerprint(net), _layers(net)

        def respond(sent: nn.Module) -> Tensor | None:
            if (self.pins == "layers" and _layers(sent) != shapes) or (
                self.pins == "model" and fingerprint(sent) != home
            ):
                return None
            updates = [
                site_update(
                    copy.deepcopy(sent),
                    x[rows],
                    y[rows],
                    self.local,
                    seed=derive_seed(seed, "site", site),
                ).double()
                for site, rows in enumerate(torch.arange(len(x)).split(self.examples))
            ]
            return self._mean([self._clip(one) for one in updates], seed)

        return respond

    def _clip(self, update: Tensor) -> Tensor:
        if self.clip is None:
            return update
        return update * min(1.0, self.clip / max(float(update.norm()), torch.finfo(torch.float64).tiny))

    def _mean(self, updates: list[Tensor], seed: int) -> Tensor:
        """Return the mean update as the server has it: by a secure sum of several, with noise on the sum."""
        mean = updates[0]
        if self.sites > 1:
            bound = float(max(one.abs().max() for one in updates)) or 1.0
            vectors = {f"site-{site + 1}": one.numpy() for site, one in enumerate(updates)}
            mean = torch.from_numpy(np.asarray(secure_sum(vectors, clip_value=bound).mean)).double()
        if self.noise_multiplier:
            assert self.clip is not None
            generator = torch.Generator().manual_seed(derive_seed(seed, "noise on a sum"))
            spread = self.noise_multiplier * self.clip / self.sites
            mean = mean + spread * torch.randn(len(mean), generator=generator, dtype=torch.float64)
        return mean


def _layers(net: nn.Module) -> list[tuple[str, torch.Size]]:
    """Return the names and shapes of all parameters, which tell the layers of a net."""
    return [(name, parameter.shape) for name, parameter in net.named_parameters()]


SETTINGS: tuple[UpdateSetting, ...] = (
    UpdateSetting("none: a plain update"),
    UpdateSetting("clipping to 1", clip=1.0),
    UpdateSetting("clipping to 1 and noise of 1", clip=1.0, noise_multiplier=1.0),
    UpdateSetting("a larger batch: 8 pictures", examples=8),
    UpdateSetting("a secure sum of 5", sites=5),
    UpdateSetting("a secure sum of 5, clipping to 1", sites=5, clip=1.0),
    UpdateSetting("a secure sum of 5, clipping to 1 and noise of 1", sites=5, clip=1.0, noise_multiplier=1.0),
    UpdateSetting("a secure sum of 5 after local training", sites=5, examples=8, local=LOCAL_TRAINING),
    UpdateSetting("a secure sum of 5, foreign layers refused", sites=5, pins="layers"),
    UpdateSetting("a secure sum of 5, foreign models refused", sites=5, pins="model"),
)
"""What attacks are tried on: no defense first, then each of them."""
