"""A model is ablated, trained for it, certified and attacked: stickers have a bracket."""

import pytest
import torch
from torch import nn

from quintain.attacks import PGD
from quintain.certify.ablation import Ablation
from quintain.data import from_arrays
from quintain.evaluate.model import named_model
from quintain.evaluate.steps.certify import ablated_model, run_certify
from quintain.evaluate.steps.evaluate import cheapest_certifier, run_evaluate
from quintain.evaluate.steps.harden import run_harden
from quintain.models import Classifier
from quintain.models.nets import initialize
from quintain.threats import Patch

STICKER = Patch(1 / 64)


@pytest.fixture(scope="module")
def data():
    """Images of a bright or a dark half, each row a little noisy."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(24) % 2
    x = 0.3 + 0.4 * y[:, None, None, None] + 0.25 * (torch.rand(24, 1, 8, 8, generator=rng) - 0.5)
    return from_arrays(x.numpy(), y.numpy())


def a_net():
    return initialize(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 2)), 0)


@pytest.fixture(scope="module")
def hardened(data, tmp_path_factory):
    net = a_net()
    settings = {"sigma": 0.25, "band_width": 2, "epochs": 120, "attacks": {"pgd": PGD(4)}}
    output = run_harden(
        net, data, data, "ablation", threat=STICKER, folder=tmp_path_factory.mktemp("run"), **settings
    )
    return net, output


def test_a_hardened_model_is_certified_and_attacked_as_it_votes(hardened):
    _, output = hardened
    clean, sticker = output.claims
    assert clean.bracket.lower.value > 0.9
    assert 0.8 < sticker.bracket.lower.value <= sticker.bracket.upper.value
    assert not sticker.bracket.num_contradictory
    assert sticker.title == "Robust accuracy, ablated, columns of 2"


def test_evaluate_certifies_it_and_attacks_the_rest(hardened, data, tmp_path):
    net, output = hardened
    subject = named_model(Classifier(net, num_classes=2), "model", "model")
    found = run_evaluate(
        subject, data, [STICKER], {"pgd": PGD(4)}, certifier="ablation", band_width=2, folder=tmp_path
    )
    _, sticker = found.claims
    assert sticker.bracket.lower.value == output.claims[1].bracket.lower.value
    assert sticker.bracket.quantity == output.claims[1].bracket.quantity
    certified = run_certify(subject, data, [STICKER], "ablation", band_width=2)
    assert certified.claims[1].bracket.lower.value == sticker.bracket.lower.value
    wide = run_certify(subject, data, [Patch(1.0)], "ablation", band_width=2)
    assert wide.claims[1].bracket.lower.value == 0


def test_where_none_is_named_the_model_itself_is_attacked_and_ablation_is_named(data, tmp_path):
    subject = named_model(Classifier(a_net().eval(), num_classes=2), "model", "model")
    found = run_evaluate(subject, data, [STICKER], {"pgd": PGD(2)}, folder=tmp_path)
    assert any("--certifier ablation handles patch" in note for note in found.notes)
    assert cheapest_certifier([STICKER]) is None
    assert cheapest_certifier([STICKER], derived=True).name == "ablation"


def test_an_attack_on_votes_breaks_what_is_not_certified(data):
    """A base that looks at one pixel is broken by a sticker there, through the votes' gradients."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[-9.0], [9.0]]).expand(2, 64) / 8)
        net[1].bias.copy_(torch.tensor([-54.0, 54.0]))  # what six hidden columns of -1 add
    subject = named_model(Classifier(net, num_classes=2), "model", "model")
    ablated = ablated_model(subject, Ablation(band_width=2)).model
    x, y = data.batch(range(24))
    big = Patch(0.5)
    outcome, certificate = PGD(10)(ablated, x, y, big, seed=0), ablated.certify(x, y, big)
    assert not (outcome.success & certificate.certified).any()
    assert outcome.success.any()
