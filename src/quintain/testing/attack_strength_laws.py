"""The laws of how strong an attack is: beside closed forms on linear models, and beside random points."""

import torch

from quintain.attacks.base import Attack
from quintain.core.threat_specs import threat_name
from quintain.losses import margin
from quintain.testing.attack_cases import declared_gap
from quintain.testing.checking import require
from quintain.testing.closed_forms import best_linear_gain, linear_task, smallest_linear_change
from quintain.testing.models import batch_invariant_net, random_inputs
from quintain.testing.threat_laws import whole_sizes
from quintain.threats import ExampleRNG, Threat
from quintain.threats.parametric import to_image


def check_optimality_gap(
    attack: Attack,
    threat: Threat,
    *,
    gap: float | None = None,
    shape: tuple[int, ...] = (1, 10, 6),
    seed: int = 0,
) -> None:
    """On a two-class linear model an attack reaches all but its gap of the best gain in ball and box.

    It breaks what that can break, and nothing that the best gain cannot.

    Args:
        attack: The attack.
        threat: One of ``CLOSED_FORMS``.
        gap: Relative gap; the declared one if not given.
        shape: Shape of the inputs.
        seed: Of weights, inputs and attack.

    Raises:
        AssertionError: If not.
    """
    gap = declared_gap(attack, threat_name(threat.spec)) if gap is None else gap
    task = linear_task(threat, shape=shape, seed=seed)
    best = best_linear_gain(threat, task.weight, task.x)
    outcome = attack(task.model, task.x, torch.zeros(len(task.x), dtype=torch.long), threat, seed=seed)
    success = outcome.success
    reachable = (1 - gap) * best > task.need
    require(success[reachable], f"success wherever {1 - gap:g} of the best gain suffices")
    require(~success[best < task.need * (1 - 1e-5)], "no success where the best gain does not suffice")
    gain = (outcome.adversarial - task.x).flatten(1) @ task.weight
    reached = (gain >= (1 - gap) * best - 1e-9)[~success]
    worst = float((gain / best)[~success].min()) if not success.all() else 1.0
    require(reached, f"at least {1 - gap:g} of the best gain", f"{worst:.6g} at worst")
    require(bool(success.any()) and not bool(success.all()), "inputs that can be broken, and others")


def check_smallest_change(attack: Attack, threat: Threat, *, gap: float | None = None) -> None:
    """On a two-class linear model every change found is within the gap of the smallest in ball and box.

    Args:
        attack: An attack that seeks the smallest change.
        threat: One of ``CLOSED_FORMS``; changes larger than its ``eps`` do not count.
        gap: Relative gap; the declared one if not given.

    Raises:
        AssertionError: If not.
    """
    gap = declared_gap(attack, threat_name(threat.spec)) if gap is None else gap
    task = linear_task(threat)
    outcome = attack(task.model, task.x, torch.zeros(len(task.x), dtype=torch.long), threat)
    smallest = smallest_linear_change(threat, task.weight, task.need, task.x)
    slack = torch.ceil(smallest * gap) if whole_sizes(threat) else smallest * gap
    success, size = outcome.success, outcome.size
    require(
        success[smallest + slack <= threat.eps],
        f"success wherever the smallest change is within {threat.spec}",
    )
    near = (size <= smallest + slack + 1e-12)[success]
    worst = float((size / smallest)[success & (smallest > 0)].max()) if success.any() else 1.0
    require(near, f"changes at most {1 + gap:g} times the smallest", f"{worst:.6g} times at worst")
    require((size >= smallest * (1 - 1e-6))[success], "no change below the smallest there is")
    require(~success[smallest > threat.eps * (1 + 1e-6)], f"no success beyond {threat.spec}")
    require(bool((success & (task.need > 0)).any()), "inputs that can be broken")


def check_better_than_random(attack: Attack, threat: Threat) -> None:
    """On a net that nothing breaks, an attack gets higher than random points of the threat at equal queries.

    Args:
        attack: The attack.
        threat: A threat that it supports.

    Raises:
        AssertionError: If not.
    """
    x = random_inputs(12, 1, 5, 5, seed=2)
    y = torch.zeros(12, dtype=torch.long)
    model = batch_invariant_net(25, 3, seed=1, lead=40.0)
    outcome = attack(model, x, y, threat)
    require(~outcome.success, "no success on a net that nothing breaks")
    reached = margin(model(outcome.adversarial), y)
    queries = int((outcome.forwards + outcome.backwards).max())
    rng = ExampleRNG(9, torch.arange(12))
    guesses = (to_image(threat, threat.sample(x, rng.fold_in(turn)), x) for turn in range(queries))
    random = torch.stack([margin(model(guess), y) for guess in guesses]).amax(0)
    found, guessed = float(reached.mean()), float(random.mean())
    require(
        found > guessed, f"a mean margin above {guessed:.6g}, that of {queries} random points", f"{found:.6g}"
    )
