"""The base class of attacks that fit one perturbation for many images."""

from collections.abc import Mapping
from typing import ClassVar

from quintain.models.protocol import Access

ESTIMATE = "how often it succeeds is an estimate, for images and views like those that it was scored on"


class UniversalAttack:
    """An attack that fits one perturbation on some images, to be measured on others.

    A frozen dataclass of its settings with a method ``fit(model, data, *, seed)``, which returns a
    ``Perturbation``.

    An attack that says which threats it ``supports`` takes one of them, and the class to be answered:
    ``fit(model, data, threat, *, seed, target)``. The others bound their perturbation by settings of their
    own, ``target`` among them. A ``fit`` that takes ``checkpoints`` too keeps its state on the way, so that
    a run that was killed goes on inside it.

    Attributes:
        name, summary, use_for, cost, access, exemptions: As in ``Attack``.
        supports: The kinds of threats of which ``fit`` takes one; none where its settings are the bound.
        test_settings: Settings for the laws, where the defaults take long.
    """

    __slots__ = ()

    kind: ClassVar[str] = "universal_attack"
    name: ClassVar[str]
    summary: ClassVar[str]
    guarantee: ClassVar[str] = ESTIMATE
    use_for: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    access: ClassVar[Access] = "gradients"
    supports: ClassVar[tuple[str, ...]] = ()
    test_settings: ClassVar[Mapping[str, float]] = {}
    exemptions: ClassVar[Mapping[str, str]] = {}
