"""Lipschitz constants: norms never below the exact ones, nets never steeper, radii never too large."""

import pytest
import torch
from torch import nn

from quintain.attacks import PGD
from quintain.certify import Lipschitz, largest_certified_radius
from quintain.certify.interval.certifier import cast_input
from quintain.certify.interval.domain import Interval
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.recording import Recording
from quintain.certify.lipschitz import growth, norms
from quintain.certify.lipschitz.growth import Growth
from quintain.certify.lipschitz.norms import conv_norm_bound, spectral_norm_bound
from quintain.certify.rounding import rounding_model
from quintain.core.errors import ModelError, SettingError
from quintain.models import Classifier
from quintain.models.nets import Normalize, initialize
from quintain.testing import random_inputs
from quintain.threats import L2, Linf

CONVOLUTIONS = (
    # channels in and out, kernel, stride, padding, dilation, groups, height, width
    (2, 3, 3, 1, 1, 1, 1, 6, 7),
    (2, 4, 4, 2, 1, 1, 1, 8, 8),
    (2, 4, 3, 2, 1, 1, 1, 7, 9),
    (2, 2, 3, 1, 0, 1, 1, 6, 6),
    (4, 4, 3, 1, 2, 2, 2, 7, 7),
    (2, 3, 3, 3, 3, 1, 1, 5, 5),
    (2, 2, 5, 1, "same", 1, 1, 4, 4),
    (1, 1, 1, 1, 3, 1, 1, 3, 3),
    (2, 3, 5, 3, 4, 2, 1, 9, 10),
    *[(1, 1, 3, 1, 1, 1, 1, 6, 6)] * 6,  # of half of them the circular norm is smaller
)


def unrolled(layer, channels, height, width):
    """The matrix of a convolution."""
    eye = torch.eye(channels * height * width).double().view(-1, channels, height, width)
    return layer(eye).flatten(1).T


def convolutions():
    for number, (inputs, outputs, *settings, height, width) in enumerate(CONVOLUTIONS):
        layer = nn.Conv2d(inputs, outputs, *settings, bias=False).double()
        rng = torch.Generator().manual_seed(number)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=rng))
            exact = float(torch.linalg.svdvals(unrolled(layer, inputs, height, width))[0])
        yield layer, height, width, exact


def require_above():
    """All bounds lie at or above the exact norms, and not far."""
    rng = torch.Generator().manual_seed(0)
    for shape in ((5, 5), (30, 7), (7, 30), (3, 12, 9)):
        matrix = torch.randn(shape, generator=rng, dtype=torch.float64)
        exact = torch.linalg.svdvals(matrix)[..., 0]
        bound = norms.spectral_norm_bound(matrix)
        assert (bound >= exact).all()
        assert (bound < 1.001 * exact).all()
    for layer, height, width, exact in convolutions():
        bound = conv_norm_bound(layer, height, width)
        assert exact <= bound <= 1.7 * exact


def test_bounds_of_norms_come_from_above():
    require_above()


def power_iteration(matrices, iterations=20):
    values = torch.ones(*matrices.shape[:-2], matrices.shape[-1], 1).to(matrices)
    for _ in range(5):
        values = matrices.mH @ (
            matrices @ (values / torch.linalg.vector_norm(values, dim=(-2, -1), keepdim=True))
        )
    return torch.linalg.vector_norm(values, dim=(-2, -1)).sqrt()


def too_small_a_torus(size, layer, axis):
    return -(-size // layer.stride[axis]) * layer.stride[axis]


@pytest.mark.parametrize(
    ("name", "bug"), [("spectral_norm_bound", power_iteration), ("_torus", too_small_a_torus)]
)
def test_a_norm_that_is_too_small_is_caught(name, bug, monkeypatch):
    monkeypatch.setattr(norms, name, bug)
    with pytest.raises(AssertionError):
        require_above()


def test_matrices_at_the_ends_of_the_range():
    equal = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(1)).double())[0]
    assert 1 <= float(spectral_norm_bound(equal)) < 1.001
    assert float(spectral_norm_bound(torch.zeros(3, 4))) == 0
    assert float(spectral_norm_bound(torch.full((1, 1), 1e-200, dtype=torch.float64))) >= 1e-200
    assert 2e200 <= float(spectral_norm_bound(torch.full((2, 2), 1e200, dtype=torch.float64))) < 2.01e200
    assert float(spectral_norm_bound(torch.full((2, 2), 1.7e308, dtype=torch.float64))) == torch.inf
    assert float(spectral_norm_bound(torch.full((2, 2), torch.nan))) == torch.inf
    broken = nn.Conv2d(1, 1, 3)
    with torch.no_grad():
        broken.weight[0, 0, 0, 0] = torch.nan
    assert conv_norm_bound(broken, 5, 5) == torch.inf


class Residual(nn.Module):
    """A branch, a pool with overlapping windows, a scale and batch statistics."""

    def __init__(self):
        super().__init__()
        self.norm = Normalize([0.3], [0.5])
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.relu, self.leaky = nn.ReLU(inplace=True), nn.LeakyReLU(0.1)
        self.batch = nn.BatchNorm2d(3)
        self.pool, self.mean = nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        h = self.relu(self.first(self.norm(x)))
        h = self.batch(h + 0.7 * self.leaky(self.second(h)))
        return self.head(self.mean(self.pool(h)).flatten(1))


@pytest.fixture(scope="module")
def residual():
    net = initialize(nn.Sequential(Residual()), 5)
    net(random_inputs(20, 1, 4, 4, seed=3).float())  # moves the batch statistics
    return net.eval()


def reaches(net, x, eps=0.1):
    """The reaches of all operations, and the recording."""
    recording = Recording()
    with torch.no_grad():
        found = Growth(recording, x, torch.full((len(x),), eps).double(), {}, rounding_model(torch.float32))
        recording.refine = found.narrow
        box = Interval(x, torch.full_like(x, eps), None, recording.add_input(x.abs() + eps))
        rounding = rounding_model(torch.float32)
        logits = TracedNetwork.trace(net).logit_bounds(cast_input(box, rounding), rounding)
        return found.of(logits.operation)


def require_no_steeper(net):
    """No two inputs are farther apart behind the net than its constant says; references are its values."""
    x = random_inputs(6, 1, 4, 4, seed=1).double()
    reach = reaches(net, x)
    with torch.no_grad():
        deep = torch.nn.Sequential(net).double()
        assert torch.allclose(reach.reference, deep(x), atol=1e-9)
        steepest = 0.0
        for seed in range(40):
            z = x + 10.0 ** -(seed % 4) * (random_inputs(6, 1, 4, 4, seed=seed + 9).double() - 0.5)
            change = torch.linalg.vector_norm(deep(z) - deep(x), dim=1)
            steepest = max(
                steepest, float((change / torch.linalg.vector_norm((z - x).flatten(1), dim=1)).max())
            )
    net.float()
    assert 0 < steepest <= reach.constant


def test_no_difference_quotient_exceeds_the_constant(residual):
    require_no_steeper(residual)


def test_an_overlap_that_is_forgotten_and_a_lost_branch_are_caught(monkeypatch):
    x = torch.zeros(1, 1, 3, 3).double()
    net = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Flatten()).eval()
    peak = x.clone()
    peak[0, 0, 1, 1] = 1.0  # which nine windows see
    change = float(torch.linalg.vector_norm(net(peak) - net(x)))
    assert reaches(net, x).constant == pytest.approx(change)
    monkeypatch.setitem(growth.CONSTANTS, nn.MaxPool2d, lambda _layer: 1.0)
    assert reaches(net, x).constant < change


def test_a_linear_model_is_certified_up_to_its_exact_distance():
    net = initialize(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), 2).eval()
    x = random_inputs(20, 1, 4, 4, seed=4).float()
    logits = net(x).double()
    y, weight = logits.argmax(1), net[1].weight.double()
    gaps = logits.gather(1, y[:, None]) - logits
    exact = (
        (gaps / torch.linalg.vector_norm(weight[y][:, None] - weight, dim=2)).nan_to_num(torch.inf).amin(1)
    )
    found = largest_certified_radius(Lipschitz(), Classifier(net), x, y, L2(0.1)).radius
    assert (found <= exact).all()
    assert (found > 0.98 * exact - 1e-4).all()


def test_nothing_certified_is_broken(residual):
    model = Classifier(residual)
    x = random_inputs(40, 1, 4, 4, seed=6).float()
    y = model.predict(x)
    radius = largest_certified_radius(Lipschitz(), model, x, y, L2(0.02)).radius
    assert (radius > 0).any()
    eps = float(radius[radius > 0].median())
    broken = PGD(20)(model, x, y, L2(eps), seed=0).success
    assert not (broken & (radius >= eps)).any()


def test_the_rounding_of_the_model_is_charged():
    """Two large biases that cancel in exact arithmetic lose the input in float32."""
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        for layer, bias in ((net[0], 1e8), (net[2], 0.0)):
            layer.weight.fill_(1.0)
            layer.bias.fill_(bias)
        net[2].bias.copy_(torch.tensor([-2e8, 0.4]))
    x, y = torch.tensor([[0.5]]), torch.zeros(1, dtype=torch.long)
    found = Lipschitz()(Classifier(net), x, y, L2(0.0))
    assert float(net.double()(x.double())[0, 0].detach()) == 1.0  # ahead by 0.6, if nothing were rounded
    assert not found.certified.any()


def test_one_logit_and_no_linear_head():
    one = initialize(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)), 1).eval()
    x = random_inputs(5, 4, seed=7).float()
    model = Classifier(one)
    y = model.predict(x)
    exact = (one(x)[:, 0].abs() / torch.linalg.vector_norm(one[1].weight)).double().detach()
    radius = largest_certified_radius(Lipschitz(), model, x, y, L2(0.1)).radius
    assert (radius <= exact + 1e-9).all()
    assert (radius > 0.98 * exact - 1e-4).all()
    ends = nn.Sequential(*one, nn.ReLU(), nn.Linear(1, 2), nn.ReLU()).eval()
    model = Classifier(initialize(ends, 3))
    y = model.predict(x)
    gaps = model(x).gather(1, y[:, None]) - model(x).gather(1, 1 - y[:, None])
    margin = Lipschitz()(model, x, y, L2(0.0)).margin
    assert (margin <= gaps[:, 0]).all()
    assert (margin > gaps[:, 0] - 1e-4).all()


def test_other_threats_are_refused():
    model = Classifier(initialize(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), 1).eval())
    x, y = random_inputs(2, 4, seed=8).float(), torch.zeros(2, dtype=torch.long)
    with pytest.raises(SettingError, match="certify L2 balls"):
        Lipschitz()(model, x, y, Linf(0.1))


def test_a_layer_without_a_constant_is_named(monkeypatch):
    monkeypatch.delitem(growth.CONSTANTS, nn.LeakyReLU)
    model = Classifier(
        initialize(nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.LeakyReLU(), nn.Linear(4, 2)), 1).eval()
    )
    x, y = random_inputs(2, 4, seed=8).float(), torch.zeros(2, dtype=torch.long)
    with pytest.raises(ModelError, match="a LeakyReLU has no Lipschitz constant"):
        Lipschitz()(model, x, y, L2(0.1))


@pytest.mark.parametrize("size", [1e-160, 1e-165, 1e-290, 1e-315])
def test_norms_of_tiny_numbers_are_not_lost(size):
    matrix = torch.tensor([[3.0, 0.0], [4.0, 1.0]], dtype=torch.float64)
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    assert exact * 0.999 < float(spectral_norm_bound(matrix * size)) / size < exact * 1.01
    assert float(norms.norm_bound(matrix * size, (0, 1))) / size == pytest.approx(26**0.5, rel=1e-3)
    net = nn.Sequential(nn.Linear(2, 2)).double().eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[size, -size], [0, 0]], dtype=torch.float64))
        net[0].bias.copy_(torch.tensor([0.3 * size, 0], dtype=torch.float64))
    model, x = Classifier(net), torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert model.predict(torch.tensor([[0.3, 0.7]], dtype=torch.float64)).item() == 1
    assert not Lipschitz()(model, x, torch.tensor([0]), L2(0.3)).certified.any()
