"""All laws of attacks on one attack: what its class variables say decides which of them it is held to."""

from functools import partial

from quintain.attacks.base import Attack
from quintain.testing.attack_cases import (
    SPLITS,
    closed_kinds,
    gap_shape,
    gap_threat,
    law_threat,
    supported_kinds,
    threat_of_size,
    whole_space_threat,
    with_settings,
)
from quintain.testing.attack_edge_laws import (
    check_gradient_mode,
    check_misclassified_cost,
    check_nan_is_error,
    check_nonfinite_gradient,
    check_small_batches,
    check_unsupported_refused,
    check_wider_data_box,
    check_zero_size,
)
from quintain.testing.attack_laws import (
    check_labels_suffice,
    check_max_queries,
    check_no_gradients,
    check_outcomes,
    check_queries_counted,
    check_split,
    check_targets,
    check_untouched,
)
from quintain.testing.attack_strength_laws import (
    check_better_than_random,
    check_optimality_gap,
    check_smallest_change,
)
from quintain.testing.checking import Law, all_of, require, run_laws
from quintain.testing.device_laws import check_attack_device
from quintain.threats import ParametricThreat

WIDE_BALL = "the smallest change in a wide ball"


def check_attack(attack: Attack) -> None:
    """Check all laws of attacks on one, in every registered threat that it supports.

    What it is held to follows from its class variables: ``supports``, ``access``, ``supports_targets``,
    ``minimum_norm`` and ``optimality_gap``. It runs in its ``test_settings`` (gaps in its
    ``gap_test_settings``), and is not held to its ``exemptions``.

    Args:
        attack: An attack, such as ``MyAttack()``; it need not be registered.

    Raises:
        AssertionError: If it breaks any; the message names each, with what was seen.
    """
    kinds = supported_kinds(attack)
    missing = [kind for kind in attack.supports if kind not in kinds]
    tested = with_settings(attack, attack.test_settings)
    measured = with_settings(attack, attack.gap_test_settings)
    laws: list[Law] = [
        (
            "supported threats are registered",
            lambda: require(not missing, "registered threats", f"{missing}"),
        ),
        ("other threats are refused", partial(check_unsupported_refused, tested)),
    ]
    for kind in kinds:
        laws += _laws_in(tested, kind)
    for kind in closed_kinds(attack):
        laws.append(
            (f"a wider data box is kept in {kind}", partial(check_wider_data_box, tested, law_threat(kind)))
        )
    laws += _smallest_change_laws(measured) if attack.minimum_norm else _gap_laws(measured)
    run_laws(f"the attack {attack.name}", laws, attack.exemptions)


def _laws_in(attack: Attack, kind: str) -> list[Law]:
    """The laws in one kind of threat that need no closed form."""
    threat = law_threat(kind)
    budgets = [partial(check_max_queries, attack, threat, queries) for queries in (2, 9)]
    failures = [partial(check_untouched, attack, threat, fail_at=call) for call in (None, 2)]
    laws: list[Law] = [
        ("outcomes hold", partial(check_outcomes, attack, threat)),
        ("any split gives the same", partial(check_split, attack, threat, SPLITS["uneven"])),
        ("queries are counted", partial(check_queries_counted, attack, threat)),
        ("a budget is kept", all_of(*budgets)),
        ("targets are reached or refused", partial(check_targets, attack, threat)),
        ("the model is untouched", all_of(*failures)),
        ("the caller's gradient mode does not matter", partial(check_gradient_mode, attack, threat)),
        ("what is misclassified costs two queries", partial(check_misclassified_cost, attack, threat)),
        ("small batches", all_of(*(partial(check_small_batches, attack, threat, n) for n in (0, 1)))),
        ("NaN is an error", partial(check_nan_is_error, attack, kind)),
        ("a gradient that is not finite", partial(check_nonfinite_gradient, attack, threat)),
        ("an accelerator gives the same", partial(check_attack_device, attack, threat)),
    ]
    if attack.access != "gradients":
        laws.append(("no gradient is asked for", partial(check_no_gradients, attack, threat)))
    if attack.access == "labels":
        laws.append(("labels suffice", partial(check_labels_suffice, attack, threat)))
    if not isinstance(threat, ParametricThreat):
        laws.append(("size zero", partial(check_zero_size, attack, threat_of_size(kind, 0.0))))
    if not attack.minimum_norm:
        laws.append(("better than random", partial(check_better_than_random, attack, threat)))
    return [(f"{name} in {kind}", check) for name, check in laws]


def _gap_laws(attack: Attack) -> list[Law]:
    """The laws of the gap to the best gain, in a small and in a wide ball."""
    shape = gap_shape(attack)
    numbers = shape[0] * shape[1] * shape[2]
    return [
        (
            f"the optimality gap in {kind}",
            all_of(
                *(
                    partial(check_optimality_gap, attack, gap_threat(kind, fraction, numbers), shape=shape)
                    for fraction in (0.05, 0.6)
                )
            ),
        )
        for kind in closed_kinds(attack)
    ]


def _smallest_change_laws(attack: Attack) -> list[Law]:
    """The laws of the gap to the smallest change; an attack may be exempt from that in the whole space."""
    kinds = closed_kinds(attack)

    def within(fraction: float) -> list[partial[None]]:
        return [partial(check_smallest_change, attack, whole_space_threat(kind, fraction)) for kind in kinds]

    return [
        ("the smallest change", all_of(*within(0.05), *within(0.1))),
        (WIDE_BALL, all_of(*within(1.0))),
    ]
