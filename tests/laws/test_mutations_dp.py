"""Broken private training, run through the public entry, raises the alarm that it should; the clean run
beside it does not.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import MechanismError, PrivacyError
from quintain.dp import PoissonLoader, PrivacyEngine, PrivatePlan, mechanism_tests, verify_mechanism
from quintain.dp.per_example import grads
from quintain.dp.randomness import stream as streams
from quintain.dp.step import clipping, clipping_weights
from quintain.results.specification import Measurement

PLAN = PrivatePlan(
    noise_multiplier=1.5, max_grad_norm=0.7, expected_batch_size=32, steps=250, learning_rate=0.1
)
CHOSEN, NORMAL, DENSE = (
    streams.RandomStream.poisson_sample,
    streams.RandomStream._normal,
    grads.DenseGrads.squared_norms,
)
FILL, ADD_NORMAL, WEIGHED, ATTACH = (
    streams.RandomStream._fill,
    streams.RandomStream.add_gaussian,
    clipping_weights.clipping_weights,
    PrivacyEngine.attach,
)


def per_parameter(flat, norms, precision):
    """Clips each parameter by itself and calls it flat."""
    return torch.stack([clipping.flat_clip_factors(norm, flat.max_grad_norm, precision) for norm in norms])


def apart(outer):
    """Adds the squared norms of a layer's uses and positions, as if they were orthogonal."""
    return (outer.a.square().sum(2) * outer.g.square().sum(2)).sum(1).double()


def only_matrices(dense):
    """Forgets the parameters that are vectors."""
    return DENSE(dense) * (len(dense.shape) > 1)


class Shuffle:
    """Goes through a shuffled data set batch by batch, as plain training does."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.records = 0

    def draw(self, stream, records, expected):
        if records != self.records:
            self.left, self.records = [], records
        if expected == records:
            return CHOSEN(stream, records, expected)
        if len(self.left) < expected:
            self.left = np.argsort(stream.words(records)).tolist()
        batch, self.left = self.left[:expected], self.left[expected:]
        return np.sort(np.array(batch))


def fixed_size(stream, records, expected):
    """Draws as many records as expected, always."""
    return np.sort(np.argsort(stream.words(records))[:expected])


def never_empty(stream, records, expected):
    """Draws again when nobody was drawn."""
    rows = CHOSEN(stream, records, expected)
    return rows if len(rows) else never_empty(stream, records, expected)


def stuck(stream, *drawn):
    """The same noise at each step."""
    stream.seek(0)
    return NORMAL(stream, *drawn)


def first_part_alone(stream, into, scale, by=1):
    """No noise beyond the first 65,536 numbers."""
    ADD_NORMAL(stream, into[: 1 << 16], scale, by)
    into[1 << 16 :].mul_(1 / by)


def anew_for_each_parameter(sums, stream, scale, by):
    """The noise of each parameter begins where that of the first did."""
    key = stream.words(4).tobytes()
    for part in sums.flat.split([p.numel() for p in sums._parameters]):
        streams.RandomStream(key).add_gaussian(part, scale, by)


def anew_for_each_piece(stream, into, scale, by=1):
    """Each piece that is drawn at a time gets the same noise."""
    key = stream.words(4).tobytes()
    for piece in into.split(streams.CHUNK_BYTES // into.element_size()):
        ADD_NORMAL(streams.RandomStream(key), piece, scale, by)


def coarse(values):
    """Words that take so many values."""

    def mutant(stream, out, count):
        FILL(stream, out, count)
        step = 2**32 // values
        words = np.frombuffer(out, "<u4", len(out) // 4).astype(np.int64)
        out[:] = (words // step * step + step // 2).clip(max=2**32 - 1).astype("<u4").tobytes()

    return mutant


def unclipped(of_means):
    """Skips the clipping of losses that are means, or of those that are sums."""

    def mutant(parameters, turn, clip, *, mean):
        found, weights, part = WEIGHED(parameters, turn, clip, mean=mean)
        return (
            found,
            torch.full_like(weights, turn.batch_size if mean else 1.0) if mean is of_means else weights,
            part,
        )

    return mutant


def noiseless(reduction):
    """Draws no noise on one of the ways to train: ``fit`` adds up losses, the loop takes their mean."""

    def mutant(engine, **words):
        return ATTACH(
            engine, **(words | ({"noise_multiplier": 0.0} if words["loss_reduction"] == reduction else {}))
        )

    return mutant


MUTATIONS = {
    "no noise beyond the first part": (
        "quintain.dp.randomness.stream.RandomStream.add_gaussian",
        first_part_alone,
        "standard deviation",
    ),
    "no noise in fit": (
        "quintain.dp.opacus.privacy_engine.PrivacyEngine.attach",
        noiseless("sum"),
        "standard deviation",
    ),
    "no noise in a loop": (
        "quintain.dp.opacus.privacy_engine.PrivacyEngine.attach",
        noiseless("mean"),
        "standard deviation",
    ),
    "no clipping of sums": (
        "quintain.dp.step.private_step.clipping_weights",
        unclipped(of_means=False),
        "moves the sum",
    ),
    "no clipping of means": (
        "quintain.dp.step.private_step.clipping_weights",
        unclipped(of_means=True),
        "moves the sum",
    ),
    "clipped a little more": (
        "quintain.dp.step.clipping.flat_clip_factors",
        lambda norms, c, _: (0.999 * c / norms).clamp(max=1).nan_to_num(0),
        "moves the sum",
    ),
    "skipped clipping": (
        "quintain.dp.step.clipping.flat_clip_factors",
        lambda norms, *_: torch.ones_like(norms),
        "moves the sum",
    ),
    "clipped a little less": (
        "quintain.dp.step.clipping.flat_clip_factors",
        lambda norms, c, _: (1.001 * c / norms).clamp(max=1).nan_to_num(0),
        "moves the sum",
    ),
    "per-layer clip called flat": (
        "quintain.dp.step.clipping.FlatClipping.clip_factors",
        per_parameter,
        "moves the sum",
    ),
    "bias not counted": (
        "quintain.dp.per_example.grads.DenseGrads.squared_norms",
        only_matrices,
        "moves the sum",
    ),
    "no cross terms between positions": (
        "quintain.dp.per_example.grads.OuterProductGrads.squared_norms",
        apart,
        "moves the sum",
    ),
    "halved noise": (
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: NORMAL(*drawn) / 2,
        "standard deviation",
    ),
    "noise 2 % short": (
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: NORMAL(*drawn) * 0.98,
        "standard deviation",
    ),
    "no noise": (
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: NORMAL(*drawn) * 0,
        "standard deviation",
    ),
    "noise of another shape": (
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: NORMAL(*drawn).sign() * 1.0,
        "Gaussian",
    ),
    "the same noise each step": ("quintain.dp.randomness.stream.RandomStream._normal", stuck, "two steps"),
    "one noise for all layers": (
        "quintain.dp.randomness.stream.RandomStream.add_gaussian",
        lambda self, into, scale, by: (
            into.view(2, -1).add_(self.normal(len(into) // 2), alpha=scale).div_(by)
        ),
        "two layers",
    ),
    "noise anew for each parameter": (
        "quintain.dp.step.clipped_sum.FloatClippedSum.add_noise",
        anew_for_each_parameter,
        "with itself 65536",
    ),
    "noise anew for each piece": (
        "quintain.dp.randomness.stream.RandomStream.add_gaussian",
        anew_for_each_piece,
        "with itself 65536",
    ),
    "turns that overlap": (
        "quintain.dp.randomness.stream.RandomStream.seek",
        lambda self, turn: self._start_cipher(turn << 6),
        "with itself 134912",
    ),
    "noise with a largest value": (
        "quintain.dp.randomness.stream.RandomStream._normal",
        lambda *drawn: NORMAL(*drawn).clamp(-4, 4),
        "beyond 4 deviations",
    ),
    "words of 16 bits": ("quintain.dp.randomness.stream.RandomStream._fill", coarse(2**16), "all but equal"),
    "words of two million values": (
        "quintain.dp.randomness.stream.RandomStream._fill",
        coarse(2_000_000),
        "all but equal",
    ),
    "fixed batches": (
        "quintain.dp.randomness.stream.RandomStream.poisson_sample",
        fixed_size,
        "spread of batch sizes",
    ),
    "shuffled batches": (
        "quintain.dp.randomness.stream.RandomStream.poisson_sample",
        Shuffle().draw,
        "how often a record is drawn",
    ),
    "twice as many records": (
        "quintain.dp.randomness.stream.RandomStream.poisson_sample",
        lambda self, records, expected: CHOSEN(self, records, min(records, 2 * expected)),
        "mean size",
    ),
}


TOLD = {
    "_noise": {
        *("standard deviation", "Gaussian", "two steps", "two layers"),
        *("with itself 65536", "with itself 134912", "beyond 4 deviations", "all but equal"),
    },
    "_inclusion": {"spread of batch sizes", "how often a record is drawn", "mean size"},
    "_sensitivity": {"moves the sum"},
}
"""Which part of the specification tells of which departure."""


def measured_alone(monkeypatch, part):
    """Leave out the parts of the specification that a fault is not to be told by, which cost time."""
    for other in TOLD.keys() - {part}:
        nothing = Measurement(other, 0.0, 0.0, 1.0, "left out")
        monkeypatch.setattr(
            mechanism_tests, other, lambda *_, found=nothing if other == "_sensitivity" else (): found
        )


def as_method(mutant):
    """A plain function, which a class binds."""

    def method(*arguments, **named):
        return mutant(*arguments, **named)

    return method


@pytest.mark.exhaustive
def test_the_engine_as_it_is_meets_its_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the way that most of these faults are looked for in; ``test_dp`` has all ways, from fresh entropy,
    each time.
    """
    monkeypatch.setattr(mechanism_tests, "WAYS", {"fit": mechanism_tests.WAYS["fit"]})
    assert verify_mechanism(PLAN, 400, seed=0).raise_if_failed().passed


COARSER = {"skipped clipping", "halved noise", "no noise", "words of 16 bits"}
"""Faults of which a finer one of the same place is in the list too, and is told."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.exhaustive if name in COARSER else ()) for name in MUTATIONS],
)
def test_a_broken_engine_fails_its_specification(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, mutant, message = MUTATIONS[name]
    way = "loop" if name in ("no noise in a loop", "no clipping of means") else "fit"
    monkeypatch.setattr(mechanism_tests, "WAYS", {way: mechanism_tests.WAYS[way]})
    measured_alone(monkeypatch, next(part for part, words in TOLD.items() if message in words))
    monkeypatch.setattr(target, as_method(mutant))
    with pytest.raises(MechanismError, match=message):
        verify_mechanism(PLAN, 400, seed=0).raise_if_failed()


def test_empty_batches_drawn_again_fail_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PrivatePlan(1.0, 1.0, 1, 2000, 0.1)
    monkeypatch.setattr(mechanism_tests, "WAYS", {"fit": mechanism_tests.WAYS["fit"]})
    measured_alone(monkeypatch, "_inclusion")
    assert verify_mechanism(plan, 50, seed=0).raise_if_failed().passed
    monkeypatch.setattr("quintain.dp.randomness.stream.RandomStream.poisson_sample", never_empty)
    with pytest.raises(MechanismError, match="mean size"):
        verify_mechanism(plan, 50, seed=0).raise_if_failed()


@pytest.mark.parametrize(
    ("norm", "message"),
    [(nn.GroupNorm(2, 4), None), (nn.BatchNorm1d(4), "mixes the examples of a batch: use GroupNorm")],
)
def test_batch_norm_is_refused_and_group_norm_is_not(norm: nn.Module, message: str | None) -> None:
    net = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2))
    settings = {
        "module": net,
        "optimizer": torch.optim.SGD(net.parameters(), lr=0.1),
        "data_loader": DataLoader(TensorDataset(torch.zeros(4, 3)), batch_size=2),
    }
    if message is None:
        assert isinstance(PrivacyEngine().make_private(**settings)[2], PoissonLoader)
    else:
        with pytest.raises(PrivacyError, match=message):
            PrivacyEngine().make_private(**settings)
