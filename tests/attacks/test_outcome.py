"""The result of an attack prints short, in a notebook too."""

import torch

from quintain.attacks import FGSM, AttackOutcome
from quintain.threats import Linf


def outcome(threat: str = "linf:8/255") -> AttackOutcome:
    success = torch.tensor([True, True, False, False])
    return AttackOutcome(
        adversarial=torch.zeros(4, 3),
        success=success,
        size=torch.tensor([0.01, 0.02, torch.inf, torch.inf], dtype=torch.float64),
        forwards=torch.tensor([1, 2, 10, 10]),
        backwards=torch.tensor([0, 1, 9, 9]),
        error=torch.tensor([False, False, False, True]),
        found_by=("unchanged", "<pgd>", "", ""),
        queries_to_success=torch.tensor([1, 2, 0, 0]),
        threat=threat,
    )


def test_it_prints_its_counts_and_the_threat() -> None:
    assert repr(outcome()) == "AttackOutcome(4 examples, 2 broken, 1 invalid, linf:8/255)"
    assert repr(outcome(threat="")) == "AttackOutcome(4 examples, 2 broken, 1 invalid)"


def test_every_attack_says_what_it_was_allowed() -> None:
    x, y = torch.full((2, 3), 0.5), torch.tensor([0, 1])
    made = FGSM()(torch.nn.Linear(3, 2).eval(), x, y, Linf(4 / 255), seed=0)
    assert made.threat == "linf:4/255"
    assert repr(made).startswith("AttackOutcome(2 examples, ")


def test_a_notebook_shows_a_small_table_with_all_text_escaped() -> None:
    html = outcome()._repr_html_()
    assert html.startswith("<table>")
    for words in ("Attack linf:8/255", "by &lt;pgd&gt;", "median size of a break", "0.01", "5.8", "4.8"):
        assert words in html
    assert "<pgd>" not in html


def test_no_examples_print_too() -> None:
    none = torch.zeros(0)
    empty = AttackOutcome(none, none.bool(), none, none, none, none.bool(), (), none)
    assert repr(empty) == "AttackOutcome(0 examples, 0 broken)"
    assert "per example" not in empty._repr_html_()
