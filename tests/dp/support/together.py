"""What each process of a team does. ``test_distributed`` forks for each, and also runs it alone, in its own
process.
"""

import warnings
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset, TensorDataset

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp import FlatClipping, PrivacyEngine, PrivacySettings, RandomSource, make_private
from quintain.dp.distributed import DifferentiallyPrivateDistributedDataParallel
from quintain.dp.opacus.data_loader import DPDataLoader
from quintain.dp.opacus.schedulers import ExponentialGradClip
from quintain.dp.opacus.utils.uniform_sampler import DistributedUniformWithReplacementSampler
from quintain.dp.sampling.out_of_memory import retry_on_out_of_memory
from quintain.dp.sampling.privacy_units import PrivacyUnits
from quintain.dp.step.adaptive import AdaptiveClipping

RECORDS, KEYS = 40, np.arange(40) // 3


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(RECORDS, 6, generator=generator), torch.arange(RECORDS))


def trained(
    together: bool,
    *,
    seed: int | None = 5,
    batch: int = 5,
    clip: object = 0.4,
    sampler: bool = False,
    starve: int = 0,
    secure: bool = False,
    key: bytes | None = None,
    **settings,
):
    """Weights after two passes, the rows that this process had, its ledger, and the bound."""
    torch.manual_seed(0 if seed is not None else int(distributed.get_rank()))
    net: nn.Module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    if together:
        net = DifferentiallyPrivateDistributedDataParallel(net)
    size = distributed.get_world_size() if together else 1
    shared = DistributedSampler(data(), num_replicas=size, rank=0) if sampler else None
    net, optimizer, loader = PrivacyEngine(seed=seed, secure_mode=secure, secret_key=key).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.5),
        data_loader=DataLoader(data(), batch_size=batch // size if sampler else batch, sampler=shared),
        noise_multiplier=0.7,
        max_grad_norm=clip,
        **settings,
    )
    rows: list[tuple[int, int]] = []
    sizes: list[int] = []

    def step(x: torch.Tensor) -> None:
        optimizer.zero_grad()
        net(x).square().sum(1).mean().backward()
        if starve and len(x) > starve:
            raise torch.OutOfMemoryError("out of memory")
        optimizer.step()

    work = retry_on_out_of_memory(step, loader=loader, optimizer=optimizer) if starve else step
    for _ in range(2):
        for x, index in loader:
            work(x)
            if not starve:
                rows.extend((loader.batches_drawn, int(row)) for row in index)
            if loader.physical_batch.is_last:
                sizes.append(loader.logical_batch_size)
    (release,) = optimizer.ledger.releases
    told = (release.steps, release.expected_batch_size, release.num_units, len(loader))
    weights = torch.cat([p.detach().flatten() for p in net.parameters()]).numpy()
    return {
        "weights": weights,
        "rows": np.array(rows),
        "sizes": sizes,
        "ledger": told,
        "bound": optimizer.max_grad_norm,
    }


def natively(together: bool):
    """Weights and ledger after two passes of the native call."""
    torch.manual_seed(0)
    net: nn.Module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    if together:
        net = DifferentiallyPrivateDistributedDataParallel(net)
    private = make_private(
        net,
        torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.5),
        DataLoader(data(), batch_size=10),
        PrivacySettings(noise_multiplier=0.7, clipping=FlatClipping(0.4)),
        random=RandomSource.from_seed(5),
    )
    for _ in range(2):
        for x, _ in private.loader:
            private.optimizer.zero_grad()
            net(x).square().sum(1).mean().backward()
            private.optimizer.step()
    (release,) = private.ledger.releases
    return {
        "weights": torch.cat([p.detach().flatten() for p in net.parameters()]).numpy(),
        "ledger": (release.steps, release.expected_batch_size, release.num_units, len(private.loader)),
        "bound": private.optimizer.max_grad_norm,
    }


def natively_differing() -> str:
    """What this process hears where the second alone asks the native call for other noise."""
    net: nn.Module = DifferentiallyPrivateDistributedDataParallel(nn.Linear(6, 2))
    try:
        make_private(
            net,
            torch.optim.SGD(net.parameters(), lr=0.1),
            DataLoader(data(), batch_size=RECORDS),
            PrivacySettings(noise_multiplier=1.0 + distributed.get_rank()),
        )
    except PrivacyError as error:
        return str(error)
    return ""


def noise(together: bool, **settings):
    """What one step on records without gradient makes of 20,000 weights."""
    torch.manual_seed(0)
    net: nn.Module = nn.Linear(200, 100, bias=False)
    if together:
        net = DifferentiallyPrivateDistributedDataParallel(net)
    net, optimizer, loader = PrivacyEngine(seed=3).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
        data_loader=DataLoader(TensorDataset(torch.zeros(16, 200)), batch_size=8),
        noise_multiplier=1.5,
        max_grad_norm=2.0,
    )
    (x,) = next(iter(loader))
    net(x).sum(1).mean().backward()
    optimizer.step()
    return {"weights": optimizer.params[0].grad.flatten().numpy() * 8 / 3.0}


CASES = {
    "plain": trained,
    "in pieces": lambda together: trained(together, batch=20, max_physical_batch_size=4),
    "with units": lambda together: trained(
        together, batch=10, units=PrivacyUnits(KEYS, max_records_per_unit=2)
    ),
    "adaptive": lambda together: trained(
        together, batch=20, clip=AdaptiveClipping(0.4, unclipped_count_std=3.0)
    ),
    "told by its sampler": lambda together: trained(together, batch=10, sampler=True),
    "out of memory": lambda together: trained(together, batch=20, starve=6),
    "natively": natively,
    "noise": noise,
}


def alone_in_a_team() -> Iterator[str]:
    """Messages of what is refused."""
    net = nn.Linear(2, 2)
    settings = {
        "data_loader": DataLoader(data(), batch_size=4),
        "noise_multiplier": 1.0,
        "max_grad_norm": 1.0,
    }
    for module in (net, nn.parallel.DistributedDataParallel(net)):
        try:
            PrivacyEngine().make_private(
                module=module, optimizer=torch.optim.SGD(net.parameters(), lr=0.1), **settings
            )
        except PrivacyError as error:
            yield str(error)
    wrapped = DifferentiallyPrivateDistributedDataParallel(nn.Linear(2, 2))
    sampler = DistributedSampler(data(), num_replicas=3, rank=0)
    uneven = DataLoader(TensorDataset(torch.zeros(8 + distributed.get_rank(), 2)), batch_size=4)
    for loader in (uneven, DataLoader(data(), batch_size=4, sampler=sampler)):
        try:
            PrivacyEngine().make_private(
                module=wrapped,
                optimizer=torch.optim.SGD(wrapped.parameters(), lr=0.1),
                **{**settings, "data_loader": loader},
            )
        except (PrivacyError, SettingError) as error:
            yield str(error)


def refused_by_one(case: str) -> str:
    """What this process hears where the second alone does something that is refused."""
    odd = distributed.get_rank() == 1
    settings = {
        "noise_multiplier": 1.0,
        "max_grad_norm": 1.0,
        "data_loader": DataLoader(data(), batch_size=40),
    }
    try:
        net: nn.Module = nn.Sequential(nn.Linear(6, 2), *[nn.BatchNorm1d(2)] * (odd and case == "layer"))
        if not (odd and case == "module"):
            net = DifferentiallyPrivateDistributedDataParallel(net) if case != "layer" else Unchecked(net)
        settings |= {"noise_multiplier": -1.0} if odd and case == "setting" else {}
        settings |= {"stop_at_epsilon": (1e-3, 1e-5)} if odd and case == "budget" else {}
        inner = torch.optim.SGD(net.parameters(), lr=0.1)
        net, optimizer, loader = PrivacyEngine().make_private(module=net, optimizer=inner, **settings)
        x, _ = next(iter(loader))
        if not (odd and case == "step"):
            net(x).square().sum(1).mean().backward()
        optimizer.step()
    except (PrivacyError, SettingError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Pictures(Dataset):
    """Records that are read one by one; ``changed`` at random, by torch's generator or by one of their
    own.
    """

    def __init__(self, first: int = 0, changed: str = "") -> None:
        self.first, self.changed = first, changed

    @cached_property
    def own(self) -> Iterator[float]:
        """Numbers of this process alone."""
        return map(float, np.random.default_rng().random(10_000))

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, row: int) -> tuple[torch.Tensor, dict[str, int | str]]:
        number = self.first + row
        by = {"": 0.0, "torch": torch.rand(()).item(), "itself": next(self.own)}[self.changed]
        return torch.full((6,), number + by), {"row": number, "name": f"picture {number}"}


class Labeled(Pictures):
    """Pictures changed by draws of their own, which differ from process to process, with labels, which do
    not.
    """

    def __getitem__(self, row: int) -> tuple[torch.Tensor, dict[str, int | str]]:
        x, told = super().__getitem__(row)
        return x, {"label": told["row"] // 1000}


COMPARED = {
    "tensors": lambda _rank: Subset(data(), range(RECORDS)),
    "files": lambda _rank: Pictures(),
    "changed by torch": lambda _rank: Pictures(0, "torch"),
    "changed by itself": lambda _rank: Pictures(0, "itself"),
    "labels alone": lambda rank: Labeled(rank, "itself"),
}


def compared(case: str) -> str:
    """What the record says of the data that were compared, and what was warned of."""
    net: nn.Module = DifferentiallyPrivateDistributedDataParallel(nn.Linear(6, 2))
    loader, engine = DataLoader(COMPARED[case](distributed.get_rank()), batch_size=RECORDS), PrivacyEngine()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        engine.make_private(
            module=net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1), data_loader=loader
        )
    return "; ".join([engine.report.runs[0].compared, *(str(one.message) for one in heard)])


OTHER = {
    "bound": {"max_grad_norm": 2.0},
    "way to clip": {"clipping": "automatic"},
    "noise": {"noise_multiplier": 2.0},
    "reduction": {"loss_reduction": "sum"},
    "budget": {"stop_at_epsilon": (50.0, 1e-3)},
    "axis": {"batch_first": False},
    "keys": {"units": PrivacyUnits(np.arange(RECORDS) % 20)},
    "order": {"data_loader": DataLoader(Subset(data(), range(RECORDS)[::-1]), batch_size=RECORDS)},
    "tensors": {
        "data_loader": DataLoader(TensorDataset(data().tensors[0] + 1, data().tensors[1]), batch_size=RECORDS)
    },
    "files": {"data_loader": DataLoader(Pictures(1), batch_size=RECORDS)},
    "changed files": {"data_loader": DataLoader(Pictures(1, "torch"), batch_size=RECORDS)},
    "changed by itself": {"data_loader": DataLoader(Pictures(1, "itself"), batch_size=RECORDS)},
}
"""What the second process alone gives ``make_private``; ``SAME`` gives the first, and both where they are
alike.
"""
SAME = {
    "keys": {"units": PrivacyUnits(np.arange(RECORDS) // 2)},
    "order": {"data_loader": DataLoader(Subset(data(), range(RECORDS)), batch_size=RECORDS)},
    "files": {"data_loader": DataLoader(Pictures(), batch_size=RECORDS, num_workers=1)},
    "changed files": {"data_loader": DataLoader(Pictures(0, "torch"), batch_size=RECORDS)},
    "changed by itself": {"data_loader": DataLoader(Pictures(0, "itself"), batch_size=RECORDS)},
}
LATER = ("schedule", "noise set", "bound set")


def differing(case: str, *, alike: bool = False) -> str:
    """What this process hears where the second alone is told something else, then or later."""
    odd = distributed.get_rank() == 1 and not alike
    settings = {
        "noise_multiplier": 1.0,
        "max_grad_norm": 1.0,
        "data_loader": DataLoader(data(), batch_size=RECORDS),
    }
    settings |= OTHER.get(case, {}) if odd else SAME.get(case, {})
    net: nn.Module = DifferentiallyPrivateDistributedDataParallel(nn.Linear(6, 2))
    inner = torch.optim.SGD(net.parameters(), lr=0.1)
    place = torch.get_rng_state()
    try:
        net, optimizer, loader = PrivacyEngine(seed=0 if odd and case == "seed" else None).make_private(
            module=net, optimizer=inner, **settings
        )
        assert torch.equal(place, torch.get_rng_state())
        if case not in LATER:
            return ""
        schedule = ExponentialGradClip(optimizer, gamma=0.1)
        for turn in range(3):
            x, _ = next(iter(loader))
            optimizer.zero_grad()
            net(x).square().sum(1).mean().backward()
            optimizer.step()
            if odd and turn == 1:
                {
                    "schedule": schedule.step,
                    "noise set": lambda: setattr(optimizer, "noise_multiplier", 0.5),
                    "bound set": lambda: setattr(optimizer, "max_grad_norm", 3.0),
                }[case]()
    except PrivacyError as error:
        return f"after {optimizer.steps}: {error}" if case in LATER else str(error)
    return ""


class Unchecked(DifferentiallyPrivateDistributedDataParallel):
    """One that sends no weights, so that modules may differ."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module


def known_names() -> np.ndarray:
    """Rows that the samplers of known names give this process."""
    lists = list(DistributedUniformWithReplacementSampler(total_size=50, sample_rate=0.1, steps=20))
    loader = DPDataLoader(data(), sample_rate=0.1, distributed=True)
    rows = [(step, row) for step, some in enumerate(lists) for row in some]
    rows += [(100 + step, int(row)) for step, (_, index) in enumerate(loader) for row in index]
    return np.array(rows)


def main(rank: int, size: int, folder: str) -> None:
    """Join the team, and write down what this process found."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    distributed.init_process_group(
        "gloo", init_method=meet, rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )
    found = {f"{name}/{key}": value for name, case in CASES.items() for key, value in case(True).items()}
    secret = trained(True, seed=None)
    discrete = trained(True, seed=None, secure=True, batch=10, units=PrivacyUnits(KEYS))
    keyed = trained(
        True, seed=None, key=bytes(32), batch=20, clip=AdaptiveClipping(0.4, unclipped_count_std=3.0)
    )
    found |= {"keyed/weights": keyed["weights"], "keyed/bound": keyed["bound"]}
    found |= {"secret/weights": secret["weights"], "discrete/weights": discrete["weights"]}
    found |= {"refused": list(alone_in_a_team()), "known": known_names()}
    found |= {
        f"one/{case}": refused_by_one(case)
        for case in ("module", "setting", "layer", "budget", "step", "nothing")
    }
    found |= {f"differ/{case}": differing(case) for case in (*OTHER, *LATER, "seed")}
    found |= {"differ/natively": natively_differing()}
    found |= {f"alike/{case}": differing(case, alike=True) for case in (*SAME, *LATER)}
    found |= {f"compared/{case}": compared(case) for case in COMPARED}
    np.savez(Path(folder) / f"{rank}.npz", **found)
    distributed.destroy_process_group()
