"""Personal heads: the last layers stay at home."""

from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from quintain.core.errors import SettingError
from quintain.federated.strategies.personal import PersonalPart


@dataclass(frozen=True, slots=True)
class PersonalHead(PersonalPart):
    """Personal heads: features are learned together, and each site has last layers of its own.

    Args:
        prefix: What the names of the personal parameters begin with, such as ``head.``; the module of the
            last parameter if not given.

    Source: Arivazhagan, Aggarwal, Singh, Choudhary, 2019, arXiv:1912.00818.
    """

    name: ClassVar[str] = "personal-head"
    summary: ClassVar[str] = "the last layer, or what a prefix names, stays at each site"

    prefix: str = ""

    def home_names(self, net: nn.Module) -> Set[str]:
        """Return the names with the prefix.

        Raises:
            SettingError: If no parameter has it.
        """
        parameters = [name for name, _ in net.named_parameters()]
        prefix = self.prefix or (parameters[-1].rpartition(".")[0] + "." if parameters else "")
        names = {*parameters, *(name for name, _ in net.named_buffers())}
        home = {name for name in names if name.startswith(prefix)}
        if not home & set(parameters):
            raise SettingError(
                f"prefix = {prefix!r} begins the name of no parameter; expected one of those of "
                f"{', '.join(parameters)}"
            )
        return home
