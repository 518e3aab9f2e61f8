"""Compare the time of a private step with a plain one, for Quintain and Opacus' modes in turn."""

import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from benchmarks.dp.nets import TASKS, Recurrent, Task
from benchmarks.harness import Comparison
from quintain.dp.randomness.stream import RandomStream

SIGMA, CLIP, RATE = 1.1, 1.0, 0.01
ROUNDS = 15
MODES = ("hooks", "ghost", "functorch")
Step = Callable[[], None]


def make_loader(task: Task) -> "DataLoader[tuple[torch.Tensor, ...]]":
    """Return a loader of one batch, so that each library sees as many examples at every step."""
    torch.manual_seed(0)
    return DataLoader(TensorDataset(*task.batch(task.size)), batch_size=task.size)


def repeat(loader: "DataLoader[tuple[torch.Tensor, ...]]") -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield batches without end."""
    while True:
        yield from loader


def plain(task: Task) -> Step:
    """Return a step of SGD, which gathers its batch anew as a sampler does."""
    net = task.net()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    x, y = make_loader(task).dataset.tensors  # type: ignore[attr-defined]
    rows = torch.arange(len(x))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()

    return step


def ours(task: Task) -> Step:
    """Return a step of the ordinary loop with the privacy engine."""
    net = task.net()
    net, optimizer, loader = q.dp.PrivacyEngine().make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=RATE),
        data_loader=make_loader(task),
        noise_multiplier=SIGMA,
        max_grad_norm=CLIP,
    )
    batches = repeat(loader)

    def step() -> None:
        x, y = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def opacus(task: Task, mode: str) -> Step:
    """Return a step of Opacus in one of its modes, with its own recurrent layer."""
    import opacus as peer
    from opacus.layers import DPLSTM

    warnings.simplefilter("ignore")
    net = Recurrent(DPLSTM) if task.net is Recurrent else task.net()
    criterion: nn.Module = nn.CrossEntropyLoss()
    private = peer.PrivacyEngine(accountant="rdp").make_private(
        module=net.train(),
        optimizer=torch.optim.SGD(net.parameters(), lr=RATE),
        criterion=criterion,
        data_loader=make_loader(task),
        noise_multiplier=SIGMA,
        max_grad_norm=CLIP,
        poisson_sampling=False,
        grad_sample_mode=mode,
    )
    module, optimizer, batches = private[0], private[1], repeat(private[-1])
    criterion = private[2] if mode == "ghost" else criterion

    def step() -> None:
        x, y = next(batches)
        optimizer.zero_grad()
        criterion(module(x), y).backward()
        optimizer.step()

    return step


def draw_noise(task: Task) -> Step:
    """Return one draw of the noise that a step needs."""
    flat, stream = (
        torch.zeros(sum(p.numel() for p in task.net().parameters())),
        RandomStream.from_os_entropy(),
    )
    return lambda: stream.add_gaussian(flat, SIGMA)


def steps_by_library(task: Task) -> dict[str, Step]:
    """Return the steps of every library and mode that can train the task."""
    steps = {"plain": plain(task), "ours": ours(task)}
    if task.noisy:
        steps["one draw of noise"] = draw_noise(task)
    for mode in MODES:
        try:
            step = opacus(task, mode)
            step()
        except Exception as error:
            print(
                f"Opacus {mode} on {task.name}: {type(error).__name__}: {str(error).splitlines()[0][:100]}",
                file=sys.stderr,
            )
        else:
            steps[f"Opacus {mode}"] = step
    return steps


def median_seconds(steps: dict[str, Step]) -> dict[str, float]:
    """Return the median seconds of each step, taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(ROUNDS + 3):
        for name, step in steps.items():
            clock = time.perf_counter()
            step()
            if turn >= 3:
                seconds[name].append(time.perf_counter() - clock)
    return {name: statistics.median(values) for name, values in seconds.items()}


def run() -> Iterator[Comparison]:
    """Time each task."""
    for task in TASKS:
        seconds = median_seconds(steps_by_library(task))
        base = seconds.pop("plain")
        noise = seconds.pop("one draw of noise", 0.0)
        base_text = (
            "plain"
            if not noise
            else f"plain and one draw of noise ({1e3 * noise:.1f} ms, AES-256-CTR, float32)"
        )
        ratios = ", ".join(f"{name} {value / (base + noise):.2f}" for name, value in seconds.items())
        yield Comparison(task.name, f"plain {1e3 * base:.1f} ms; times {base_text}: {ratios}")
