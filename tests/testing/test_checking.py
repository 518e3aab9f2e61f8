"""How laws fail: by what they expected and what they saw, all of them, and without assert statements."""

import subprocess
import sys

import pytest
import torch

from quintain.testing import require, require_equal, run_laws


def test_a_law_that_does_not_hold_says_what_was_expected_and_which_examples_differ():
    require(True, "anything")
    require(torch.ones(0, dtype=torch.bool), "anything of no example")
    with pytest.raises(AssertionError, match=r"^expected a radius; got None$"):
        require(False, "a radius", "None")
    with pytest.raises(
        AssertionError,
        match=r"^expected success; got 2 of 3 examples for which it does not hold: rows 0, 2$",
    ):
        require(torch.tensor([False, True, False]), "success")
    with pytest.raises(
        AssertionError, match=r"12 of 12 examples for which .*: rows 0, 1, 2, 3, 4, 5, 6, 7 \.\.\.$"
    ):
        require(torch.zeros(12, dtype=torch.bool), "success")


def test_tensors_that_differ_say_where():
    x = torch.arange(6.0).view(2, 3)
    require_equal(x, x.clone(), "the same")
    with pytest.raises(
        AssertionError, match=r"1 of 6 numbers that differ, the first at \(1, 2\): 9.0 beside 5.0"
    ):
        require_equal(x + 4 * (x == 5), x, "the same")
    with pytest.raises(AssertionError, match=r"\(2, 3\) torch.float64 beside \(2, 3\) torch.float32"):
        require_equal(x.double(), x, "the same")


def test_every_broken_law_is_named_and_exemptions_are_honored():
    def broken():
        require(False, "more", "less")

    laws = [("strength", broken), ("accuracy", lambda: None), ("speed", broken)]
    with pytest.raises(
        AssertionError, match=r"^the toy does not keep\n- strength: expected more; got less\n- speed"
    ):
        run_laws("the toy", laws)
    run_laws("the toy", laws, {"strength": "it is a toy", "speed": "it is a toy"})
    with pytest.raises(AssertionError, match="exempt from cost, which is no law here; the laws are"):
        run_laws("the toy", [laws[1]], {"cost": "it is a toy"})


def test_an_error_within_a_law_says_in_which_law():
    def crash():
        raise ZeroDivisionError("1 / 0")

    with pytest.raises(ZeroDivisionError) as raised:
        run_laws("the toy", [("accuracy", crash)])
    assert raised.value.__notes__ == ["in the law 'accuracy' of the toy"]


def test_laws_fail_where_assert_statements_are_left_out():
    code = (
        "import torch\nfrom quintain.testing import check_projection_inside\n"
        "from quintain.threats import L2\n"
        "L2.project = lambda ball, z, x, cache=None: z\n"
        "assert False, 'left out'\n"
        "check_projection_inside(L2(0.1), torch.ones(1, 4), torch.zeros(1, 4))\n"
    )
    found = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "AssertionError: expected projected points within l2:0.1" in found.stderr
