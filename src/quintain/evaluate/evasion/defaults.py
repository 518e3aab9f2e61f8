"""The attacks that run where none was named, and the one call that attacks a batch."""

from collections.abc import Mapping

from torch import Tensor

from quintain.attacks.base import access_of
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.core.errors import SettingError
from quintain.core.registry import Entry, by_default_rank, get_entry
from quintain.core.threat_specs import threat_name
from quintain.evaluate.evasion.job import AttackFn
from quintain.models.modules import input_type
from quintain.models.protocol import ACCESS, Access, ClassifierLike
from quintain.threats.arguments import Array, to_inputs, to_threat
from quintain.threats.threat import Threat, check_types


def default_attacks(access: Access, kind: str) -> tuple[str, ...]:
    """Return the names of the attacks that run by default, by what a model gives and a kind of threat.

    The first is the best by its declared rank, of those that use all of the access if there are any. Unless
    it seeks the smallest change itself, the best ranked one that does comes with it, so that the curve over
    sizes is more than a staircase.

    Raises:
        SettingError: If nothing that is registered serves both.
    """
    able = [entry for entry in by_default_rank("attack") if kind in entry.words("supports")]
    for level in reversed(ACCESS[: ACCESS.index(access) + 1]):
        same = [entry for entry in able if access_of(entry.fact("access")) == level]
        if same:
            best, *others = same
            curve = [one.name for one in others if one.is_true("minimum_norm") and one.fact("default_rank")]
            return (best.name, *(() if best.is_true("minimum_norm") else curve[:1]))
    raise SettingError(
        f"no registered attack serves {kind} on a model that gives {access}; 'quintain list attack' shows "
        "what there is"
    )


def attacks_on(model: ClassifierLike, threat: Threat, named: Mapping[str, Entry]) -> dict[str, AttackFn]:
    """Return the named attacks, or where none is named those that run by default on a model.

    Args:
        model: What it gives decides.
        threat: Its kind decides.
        named: Registered attacks by name.
    """
    entries = named or {
        name: get_entry("attack", name)
        for name in default_attacks(access_of(model.access), threat_name(threat.spec))
    }
    return {name: entry.load()() for name, entry in entries.items()}


def reference_attacks(kind: str) -> dict[str, AttackFn]:
    """Return the attack that trained models are compared by, at threats of a kind.

    Where it does not support the kind, it is what runs by default on a model that gives gradients.
    """
    chosen = [
        entry.name
        for entry in by_default_rank("attack")
        if entry.is_true("is_reference") and kind in entry.words("supports")
    ]
    names = chosen or default_attacks("gradients", kind)
    return {name: get_entry("attack", name).load()() for name in names}


def attack(
    model: Model, x: Array, y: Array, threat: Threat | str, *, seed: int = 0, ids: Tensor | None = None
) -> AttackOutcome:
    """Attack a batch with the attack that comes first by default: in norm balls the quick ensemble.

    Args:
        model: Gives logits (B, K), best with gradients.
        x: Inputs (B, *S), in the threat's box, a tensor or a NumPy array.
        y: True classes (B,), a tensor of int64 or a NumPy array of integers.
        threat: What may be changed, or its text, such as ``"linf:8/255"``.
        seed: Of all draws.
        ids: The examples' numbers in their data set (B,); 0, 1, 2 ... if not given.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.
    """
    ball, x = to_threat(threat), to_inputs(x, input_type(model))
    check_types(ball, x)
    best, *_ = default_attacks(access_of(getattr(model, "access", "gradients")), threat_name(ball.spec))
    outcome: AttackOutcome = get_entry("attack", best).load()()(model, x, y, ball, seed=seed, ids=ids)
    return outcome
