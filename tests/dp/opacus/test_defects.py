"""What goes wrong in silence elsewhere is right here, or refused."""

import io
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp import PrivacyEngine
from quintain.dp.opacus.accountants import create_accountant
from quintain.dp.opacus.accountants.utils import get_noise_multiplier
from quintain.dp.opacus.grad_sample import GradSampleModule
from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.schedulers import ExponentialGradClip
from quintain.dp.opacus.utils.batch_memory_manager import BatchMemoryManager
from quintain.dp.opacus.utils.uniform_sampler import UniformWithReplacementSampler
from quintain.dp.sampling.privacy_units import PrivacyUnits


def made(net: nn.Module, *data: Tensor, batch: int | None = None, **settings):
    """A private net, its optimizer and its loader, which draws everything by default."""
    engine = PrivacyEngine(seed=0)
    settings = {"noise_multiplier": 0.0, "allow_no_privacy": True, "wrap_model": False, **settings}
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    loader = DataLoader(TensorDataset(*data), batch_size=batch or len(data[0]))
    return (
        *engine.make_private(
            module=net, optimizer=torch.optim.SGD(parameters, lr=0.1), data_loader=loader, **settings
        ),
        engine,
    )


def by_hand(net: nn.Module, loss, *rows: Tensor) -> list[Tensor]:
    """Gradients (B, *shape) of each parameter, one example at a time."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    found = [
        torch.autograd.grad(loss(net, *(x[None] for x in row)), parameters, allow_unused=True)
        for row in zip(*rows, strict=True)
    ]
    return [
        torch.stack([torch.zeros_like(parameter) if g is None else g for g in column])
        for parameter, column in zip(parameters, zip(*found, strict=True), strict=True)
    ]


def check_samples(net: nn.Module, loss, *rows: Tensor) -> None:
    """``grad_sample`` of a net in float64 equals the loop over single examples."""
    expected = by_hand(net, loss, *rows)
    model = GradSampleModule(net, loss_reduction="sum")
    loss(model, *rows).backward()
    for parameter, gradients in zip([p for p in net.parameters() if p.requires_grad], expected, strict=True):
        torch.testing.assert_close(parameter.grad_sample, gradients, rtol=0, atol=1e-9)


@pytest.mark.parametrize("mode", ["auto", "ghost", "hooks"])
@pytest.mark.parametrize("clipping", ["flat", "per_layer"])
def test_a_clip_schedule_scales_the_clip_not_only_the_noise(blobs, mode: str, clipping: str) -> None:
    net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2))
    private = made(
        net, *blobs, grad_sample_mode=mode, clipping=clipping, noise_multiplier=1.0, max_grad_norm=1.0
    )
    optimizer, loader = private[1], private[-2]
    ExponentialGradClip(optimizer, gamma=0.1).step()
    for x, y in loader:
        (10 * F.cross_entropy(net(x), y)).backward()
        optimizer.clip_and_accumulate()
        assert optimizer.private_step.sum.clipped.flat.norm() <= len(x) * optimizer.max_grad_norm
    assert (
        optimizer.private_step.noise_and_clip.sum_noise_std
        == pytest.approx(optimizer.noise_multiplier * optimizer.max_grad_norm)
        == pytest.approx(0.1)
    )


def test_ghost_with_the_plain_criterion_clips(blobs) -> None:
    ends = []
    for wrapped in (True, False):
        torch.manual_seed(0)
        net = nn.Linear(6, 2)
        _, optimizer, criterion, loader, _ = made(net, *blobs, grad_sample_mode="ghost", max_grad_norm=0.05)
        for x, y in loader:
            (criterion if wrapped else nn.CrossEntropyLoss())(net(x), y).backward()
            optimizer.step()
        update = torch.cat([p.grad.flatten() for p in net.parameters()])
        assert 0 < update.norm() <= 0.05 * (1 + 1e-6)
        ends.append(update)
    assert torch.equal(*ends)


def test_a_break_within_pieces_leaves_nothing_behind(blobs) -> None:
    net = nn.Linear(6, 2)
    _, optimizer, loader, engine = made(net, *blobs, max_grad_norm=0.05)
    with BatchMemoryManager(data_loader=loader, max_physical_batch_size=7, optimizer=optimizer) as pieces:
        for x, y in pieces:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            break
    assert engine.ledger.steps == 0
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert engine.ledger.steps == 1
    assert optimizer.examples_seen == 7 + 40
    assert torch.cat([p.grad.flatten() for p in net.parameters()]).norm() <= 0.05 * (1 + 1e-6)


@pytest.mark.parametrize("how", ["without weights", "frozen", "hidden in a function"])
def test_batch_norm_in_training_mode_is_refused_in_any_form(blobs, how: str) -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(6))
            self.register_buffer("variance", torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(x, self.mean, self.variance, training=self.training)

    norm = {
        "without weights": nn.BatchNorm1d(6, affine=False),
        "frozen": nn.BatchNorm1d(6).requires_grad_(False),
        "hidden in a function": Hidden(),
    }
    net = nn.Sequential(nn.Linear(6, 6), norm[how], nn.Linear(6, 2))

    def train() -> None:
        private, optimizer, loader, _ = made(net, *blobs)
        for x, y in loader:
            F.cross_entropy(private(x), y).backward()
            optimizer.step()

    with pytest.raises(
        PrivacyError, match=r"mixes the examples|buffer '1\.mean' was written|depends on another"
    ):
        train()


def test_a_second_plain_optimizer_does_not_step(blobs) -> None:
    net = nn.Linear(6, 2)
    _, optimizer, loader, engine = made(net, *blobs)
    before = net.weight.detach().clone()
    second = torch.optim.SGD(net.parameters(), lr=1.0)
    for x, y in loader:
        F.cross_entropy(net(x), y).backward()
        with pytest.raises(PrivacyError, match="SGD is about to step"):
            second.step()
    assert torch.equal(net.weight, before)
    assert engine.ledger.steps == 0
    assert optimizer.examples_seen == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e38])
def test_one_broken_record_changes_nothing(blobs, bad: float) -> None:
    ends = []
    for broken in (False, True):
        torch.manual_seed(0)
        net = nn.Linear(6, 2)
        x, y = blobs[0].clone(), blobs[1]
        x[5] = bad if broken else 0.0
        _, optimizer, loader, _ = made(net, x, y, loss_reduction="sum", max_grad_norm=0.05)
        for rows, labels in loader:
            F.cross_entropy(net(rows), labels, reduction="sum").backward()
            optimizer.step()
        assert net.weight.isfinite().all()
        ends.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    assert (ends[0] - ends[1]).norm() * 40 <= 2 * 0.05 * (1 + 1e-5)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate", "zeros"])
def test_padded_convolutions_have_the_right_gradients(mode: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 16, 2)
    ).double()
    check_samples(net, lambda n, x: n(x).square().sum(), torch.randn(5, 2, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_add_up_the_ids_that_are_repeated(mode: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.EmbeddingBag(7, 3, mode=mode), nn.Linear(3, 2)).double()
    check_samples(
        net, lambda n, ids: n(ids).square().sum(), torch.tensor([[1, 1, 1, 4], [2, 2, 5, 5], [6, 0, 6, 6]])
    )


def test_the_row_of_padding_gets_no_gradient() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(7, 3, padding_idx=2), nn.Linear(3, 2)).double()
    ids = torch.tensor([[2, 2, 1], [2, 3, 3]])
    check_samples(net, lambda n, x: n(x).square().sum(), ids)
    assert (net[0].weight.grad_sample[:, 2] == 0).all()


def test_tables_that_depend_on_the_batch_are_refused(blobs) -> None:
    ids = torch.arange(40).view(20, 2) % 7
    for settings in ({"scale_grad_by_freq": True}, {"max_norm": 1.0}):
        net = nn.Sequential(nn.Embedding(7, 3, **settings), nn.Flatten(), nn.Linear(6, 2))

        def train(net: nn.Module = net) -> None:
            private, _, loader, _ = made(net, ids)
            for (x,) in loader:
                private(x).sum().backward()

        with pytest.raises(PrivacyError, match="|".join([*settings, "'0.weight' was written by a pass"])):
            train()


CRASHES = {
    "norm without bias": (
        nn.Sequential(nn.LayerNorm(6, bias=False), nn.Linear(6, 2)),
        lambda n, x: n(x).square().sum(),
    ),
    "relu in place": (
        nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 2)),
        lambda n, x: n(x).square().sum(),
    ),
    "four dimensions": (
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
        lambda n, x: n(x.view(-1, 1, 2, 3)).square().sum(),
    ),
}


@pytest.mark.parametrize("name", CRASHES)
def test_ordinary_nets_do_not_crash(name: str) -> None:
    net, loss = CRASHES[name]
    check_samples(
        net.double(), loss, torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )


def test_layers_may_be_called_by_keyword() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(6, 2)

        def forward(self, *, x: Tensor) -> Tensor:
            return self.last(input=x)

    check_samples(Named().double(), lambda n, x: n(x=x).square().sum(), torch.ones(4, 6, dtype=torch.float64))


def test_dropout_trains(blobs) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 2))
    _, optimizer, loader, engine = made(net, *blobs, noise_multiplier=1.0)
    for x, y in loader:
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert engine.ledger.steps == 1


@pytest.mark.filterwarnings("ignore:accountant")
@pytest.mark.parametrize("name", ["pld", "prv", "rdp", "gdp"])
def test_no_steps_cost_nothing_and_no_noise_costs_everything(name: str) -> None:
    accountant = create_accountant(name)
    assert accountant.get_epsilon(1e-5) == 0
    accountant.step(noise_multiplier=0.0, sample_rate=0.1)
    assert accountant.get_epsilon(1e-5) == math.inf


def test_adaptive_steps_on_empty_batches_and_counts_whole_ones(blobs) -> None:
    net = nn.Linear(6, 2)
    _, optimizer, loader, engine = made(
        net,
        *blobs,
        batch=1,
        noise_multiplier=0.05,
        clipping="adaptive",
        max_grad_norm=1.0,
        max_physical_batch_size=1,
    )
    sizes, votes = [], []
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.clip_and_accumulate()
        votes.append(optimizer.private_step.pending.doubled_centered_count)
        optimizer.step()
        sizes.append(loader.logical_batch_size)
    assert 0 in sizes
    assert max(sizes) > 1
    assert all(abs(vote) <= size for vote, size in zip(votes, sizes, strict=True))
    assert any(abs(vote) == size > 1 for vote, size in zip(votes, sizes, strict=True))
    assert engine.ledger.steps == 40


@pytest.mark.parametrize("records", [93, 99, 105])
def test_steps_are_whole_numbers(records: int) -> None:
    assert int(1 / (1 / records)) == records - 1
    sampler = UniformWithReplacementSampler(num_samples=records, sample_rate=1 / records)
    assert len(sampler) == records
    net = nn.Linear(1, 1)
    _, _, loader, _ = made(net, torch.zeros(records, 1), batch=1)
    assert (len(loader), loader.expected_batch_size, loader.num_units) == (records, 1, records)


def test_the_search_for_noise_does_not_overshoot() -> None:
    for accountant in ("pld", "rdp"):
        settings = {
            "target_epsilon": 3.0,
            "target_delta": 1e-5,
            "sample_rate": 0.01,
            "steps": 1000,
            "accountant": accountant,
        }
        counter = create_accountant(accountant)
        sigma = get_noise_multiplier(**settings, epsilon_tolerance=0.01)
        counter.history = [(sigma, 0.01, 1000)]
        assert 2.98 <= counter.get_epsilon(1e-5) <= 3.0


def test_an_accumulation_loop_divides_by_the_expected_batch_alone(blobs) -> None:
    ends = []
    for pieces in (1, 4):
        torch.manual_seed(0)
        net = nn.Linear(6, 2)
        _, optimizer, loader, _ = made(net, *blobs, max_grad_norm=0.05)
        for x, y in loader:
            for part, labels in zip(x.chunk(pieces), y.chunk(pieces), strict=True):
                F.cross_entropy(net(part), labels).backward()
            optimizer.step()
        ends.append(net.weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-7)


def test_several_hooks_of_a_step_do_not_evict_one_another(blobs) -> None:
    net = nn.Linear(6, 2)
    _, optimizer, loader, engine = made(net, *blobs, noise_multiplier=1.0)
    mine = create_accountant("pld")
    seen: list[DPOptimizer] = []
    optimizer.attach_step_hook(mine.get_optimizer_hook_fn(sample_rate=1.0))
    optimizer.attach_step_hook(seen.append)
    for x, y in loader:
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert seen == [optimizer]
    assert mine.history == engine.accountant.history == [(1.0, 1.0, 1)]


@pytest.mark.parametrize("rate", [0.25, 0.13])
def test_a_loader_with_a_poisson_batch_sampler_is_made_private(blobs, rate: float) -> None:
    data, net = TensorDataset(*blobs), nn.Linear(6, 2)
    sampler = UniformWithReplacementSampler(num_samples=40, sample_rate=rate, steps=6)
    engine = PrivacyEngine(seed=0)

    def private(sampler: UniformWithReplacementSampler, **settings):
        return engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(data, batch_sampler=sampler),
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            wrap_model=False,
            **settings,
        )

    _, optimizer, loader = private(sampler)
    assert (len(loader), loader.expected_batch_size, loader.num_units) == (6, round(40 * rate), 40)
    for x, y in loader:
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    (release,) = engine.ledger.releases
    assert (release.steps, release.expected_batch_size, release.num_units, release.sampling) == (
        6,
        round(40 * rate),
        40,
        "poisson",
    )
    optimizer.capture.remove()
    with pytest.raises(SettingError, match="of 30 rows for 40 records"):
        private(UniformWithReplacementSampler(num_samples=30, sample_rate=rate))
    with pytest.raises(SettingError, match="poisson_sampling=True"):
        private(sampler, poisson_sampling=False)


class Compiled(nn.Module):
    """What torch.compile gives, without its compiler."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self._orig_mod = inside


def test_a_compiled_module_is_refused(blobs) -> None:
    in_place = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2))
    in_place[1].compile(backend="eager")
    outer = torch.compile(nn.Linear(6, 2), backend="eager")
    assert hasattr(outer, "_orig_mod")
    for net, name in ((outer, ""), (Compiled(nn.Linear(6, 2)), ""), (in_place, r" \('1'\)")):
        with pytest.raises(
            PrivacyError,
            match=rf"got a compiled module{name}; expected the one that was given to torch\.compile",
        ):
            made(net, *blobs)


@pytest.mark.parametrize("unscale", [False, True])
def test_a_scaler_of_gradients_does_not_step(blobs, unscale: bool) -> None:
    net = nn.Linear(6, 2)
    _, optimizer, loader, engine = made(net, *blobs)
    scaler = torch.amp.GradScaler("cpu")
    for x, y in loader:
        scaler.scale(F.cross_entropy(net(x), y)).backward()
        if unscale:
            scaler.unscale_(optimizer)
        with pytest.raises(
            PrivacyError, match=r"GradScaler.*expected loss\.backward\(\) and optimizer\.step\(\) alone"
        ):
            scaler.step(optimizer)
    assert engine.ledger.steps == 0


def test_optimizers_and_loaders_are_not_saved_whole(blobs) -> None:
    _, optimizer, loader, _ = made(nn.Linear(6, 2), *blobs)
    for thing in (optimizer, loader):
        with pytest.raises(PrivacyError, match=r"got a request to copy or pickle.*make_private anew"):
            torch.save(thing, io.BytesIO())
    torch.save(optimizer.state_dict(), io.BytesIO())


def test_a_wrapper_that_fetches_ahead_is_told_so(blobs) -> None:
    net = nn.Linear(6, 2)
    _, optimizer, loader, engine = made(net, *blobs, batch=10)
    batches = iter(loader)
    x, y = next(batches)
    next(batches)
    F.cross_entropy(net(x), y).backward()
    with pytest.raises(PrivacyError, match="a wrapper that fetches batches ahead"):
        optimizer.step()
    assert engine.ledger.steps == 0


def test_a_unit_that_reports_do_not_know_is_refused_at_once() -> None:
    with pytest.raises(
        SettingError, match="units called 'user'; expected one of record, group, patient, client"
    ):
        PrivacyUnits(range(4), name="user")


class Both(nn.Module):
    """Several forwards of each record in one: the recipe of docs/coming-from-opacus.md."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(one), self.net(other)


def test_the_recipe_for_several_forwards_of_a_record_clips_each_record_once(blobs) -> None:
    x, y = blobs[0][:6], blobs[1][:6]
    net, bound = nn.Linear(6, 2).double(), 0.5

    def loss(both: nn.Module, one: Tensor, other: Tensor, label: Tensor) -> Tensor:
        first, second = both(one, other)
        return F.cross_entropy(first, label) + (first - second).square().sum(1).mean()

    data = (x.double(), x.double() + 0.1, y)
    singles = by_hand(Both(net), loss, *data)
    both, optimizer, loader, engine = made(Both(net), *data, max_grad_norm=bound)
    norms = torch.cat([rows.flatten(1) for rows in singles], 1).norm(dim=1)
    for batch in loader:
        loss(both, *batch).backward()
        optimizer.step()
    for parameter, rows in zip(optimizer.params, singles, strict=True):
        expected = ((bound / norms).clamp(max=1) @ rows.flatten(1)).view(parameter.shape) / len(x)
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-6, atol=1e-9)
    assert norms.max() > bound
    assert engine.ledger.steps == 1


def test_the_recipe_for_two_networks_trains_both_and_counts_the_critics_steps(blobs) -> None:
    generator = nn.Linear(3, 6)
    critic = nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(), nn.Linear(5, 1))
    both, optimizer, loader, engine = made(
        Both(critic), *blobs, batch=10, noise_multiplier=1.0, max_grad_norm=1.0
    )
    plain = torch.optim.SGD(generator.parameters(), lr=0.1)
    before = generator.weight.detach().clone()
    for x, _ in loader:
        optimizer.zero_grad()
        real, fake = both(x, generator(torch.randn(len(x), 3)).detach())
        (F.softplus(-real).mean() + F.softplus(fake).mean()).backward()
        optimizer.step()

        both.eval()
        loss = F.softplus(-critic(generator(torch.randn(16, 3)))).mean()
        weights = list(generator.parameters())
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        plain.step()
        both.train()
    assert engine.ledger.steps == optimizer.steps == 4
    assert not torch.equal(generator.weight, before)
