import pytest
import torch

from quintain.core.errors import DataError
from quintain.core.registry import declared_entries, entries
from quintain.harden import PGDTraining
from quintain.threats import L2, Linf, ParametricThreat, Threat, check_in_box, contains, parse


@pytest.mark.parametrize("name", sorted(entries("threat")))
def test_what_is_registered_keeps_the_protocol(name: str) -> None:
    kind = declared_entries("threat")[name].load()
    threat = kind.from_spec(declared_entries("threat")[name].fact("example").partition(":")[2])
    assert isinstance(threat, Threat)
    assert isinstance(threat, ParametricThreat) == declared_entries("threat")[name].is_true("parametric")
    assert str(threat) == threat.spec


def test_the_repr_that_checkpoints_hold_is_that_of_the_fields() -> None:
    assert repr(PGDTraining(Linf(0.5))).count("threat=Linf(eps=0.5, low=0.0, high=1.0)") == 1
    assert repr(L2(0.5, 0.25, 0.75)) == "L2(eps=0.5, low=0.25, high=0.75)"


def test_contains_has_no_tolerance() -> None:
    x = torch.tensor([[0.0], [0.0], [0.5], [0.75]])
    z = torch.tensor([[0.25], [0.2500001], [0.25], [1.0000001]])
    assert contains(Linf(0.25), z, x).tolist() == [True, False, True, False]
    assert contains(L2(0.25), z, x).tolist() == [True, False, True, False]


def test_contains_measures_in_float64() -> None:
    x, z = torch.tensor([[0.1]]), torch.tensor([[0.9]])
    assert (z - x).item() != (z.double() - x.double()).item()
    assert contains(Linf((z.double() - x.double()).item()), z, x).all()
    assert not contains(Linf((z.double() - x.double()).item() - 1e-15), z, x).any()


@pytest.mark.parametrize(
    ("x", "complaint"),
    [
        (torch.tensor([[0.5, 2.0]]), "from 0.5 to 2"),
        (torch.tensor([[-0.1, 0.2]]), "from -0.1"),
        (torch.tensor([[0.5, torch.nan]]), "nan"),
        (torch.tensor([[5, 200]], dtype=torch.uint8), "divide 8-bit images by 255"),
        (torch.tensor([0.5, 0.2]), "add an axis"),
    ],
)
def test_inputs_outside_the_box_are_refused(x: torch.Tensor, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        check_in_box(Linf(0.1), x)


def test_good_and_empty_inputs_are_accepted() -> None:
    assert check_in_box(Linf(0.1), torch.rand(2, 3)) is None
    assert check_in_box(Linf(0.1), torch.empty(0, 3)) is None
    assert check_in_box(Linf(0.1, -1, 3), torch.rand(2, 3) * 4 - 1) is None


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("colour:brightness=0.2", "color:brightness=0.2"),
        ("projection:0.3,form=albedo", "light:0.3,form=albedo"),
        ("patch:area=5%,place=0.5x0.5", "patch:area=5%,position=0.5x0.5"),
        (
            "compose:colour:hue=0.1+patch:area=5%,place=0x1",
            "compose:color:hue=0.1+patch:area=5%,position=0x1",
        ),
    ],
)
def test_the_words_of_earlier_versions_are_still_read(old: str, now: str) -> None:
    assert parse(old) == parse(now)
    assert parse(old).spec == now
