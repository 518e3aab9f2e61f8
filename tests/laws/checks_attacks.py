"""The laws of balls and attacks as functions: each raises AssertionError where its law does not hold."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from quintain.attacks.base import Attack
from quintain.attacks.outcome import AttackOutcome
from quintain.losses import margin
from quintain.testing.closed_forms import best_linear_gain, smallest_linear_change
from quintain.threats import L0, ExampleRNG, Mask, ParametricThreat, Threat, contains
from quintain.threats.parametric import is_allowed, to_image
from quintain.threats.shapes import shape_mask

CUTS = {"uneven": ([2, 1, 4, 3],), "singly and alike": ([1] * 10, [3, 3, 3, 1], [4, 4, 2])}
"""Into parts of which sizes ten examples are cut, once or several times."""
FIELDS = ("adversarial", "success", "size", "forwards", "backwards", "error", "queries_to_success")


# --- balls
# ------------------------------------------------------------------------------------------------------------


def check_projection_inside(ball: Threat, z: Tensor, x: Tensor) -> None:
    """A projected point is in ball and box, measured in float64, with no tolerance."""
    p = ball.project(z, x)
    assert p.dtype == x.dtype
    assert p.shape == x.shape
    assert (ball.measure(p, x) <= ball.eps).all()
    assert ((p.double() >= ball.low) & (p.double() <= ball.high)).all()


def check_projection_idempotent(ball: Threat, z: Tensor, x: Tensor) -> None:
    """A projected point, a clean point and a sampled point come back bit for bit, with the room given or
    not.
    """
    once = ball.project(z, x)
    for inside in (once, x, ball.sample(x, ExampleRNG(1, torch.arange(len(x))))):
        assert torch.equal(ball.project(inside, x), inside)
    assert torch.equal(ball.project(z, x, ball.projection_cache(x)), once)


def check_projection_nearest(ball: Threat, z: Tensor, x: Tensor, *, tries: int = 300) -> None:
    """No allowed point is nearer in L2 by more than 1e-6 (and the spacing of numbers): random points, and
    points around the projection.
    """
    z, x = z.double(), x.double()
    p = ball.project(z, x)

    def far(point: Tensor) -> Tensor:
        return torch.linalg.vector_norm((point - z).flatten(1), dim=1)

    generator = torch.Generator().manual_seed(0)
    spacing, distance = torch.finfo(p.dtype).eps, far(p)
    for attempt in range(tries):
        direction = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        scale = ball.eps * 10.0 ** -(attempt % 6)
        around = ball.project((p + scale * direction).clamp(ball.low, ball.high), x)
        for candidate in (around, ball.sample(x, ExampleRNG(attempt, torch.arange(len(x))))):
            assert (
                contains(ball, candidate, x) <= (distance <= far(candidate) * (1 + 1e-6) + 4 * spacing)
            ).all()


def check_sample_inside(ball: Threat, x: Tensor, *, seed: int = 0) -> None:
    """A sampled point is allowed, belongs to its example, and differs between seeds wherever there is
    room.
    """
    ids = torch.arange(len(x)) + 5
    z = ball.sample(x, ExampleRNG(seed, ids))
    assert contains(ball, z, x).all()
    assert torch.equal(ball.sample(x.flip(0), ExampleRNG(seed, ids.flip(0))).flip(0), z)
    if ball.eps > 1e-2 and x.numel() > 15 and x.dtype.itemsize > 2:
        assert not torch.equal(ball.sample(x, ExampleRNG(seed + 1, ids)), z)


def change_of_size(ball: Threat, step: float, origin: Tensor, generator: torch.Generator) -> Tensor:
    """A random change of one size: as many pixels across part of the box, or noise that is scaled, on the
    shape where there is one.
    """
    noise = torch.randn(origin.shape, generator=generator, dtype=origin.dtype)
    if isinstance(ball, L0):
        order = torch.rand(origin.flatten(1).shape, generator=generator).argsort(1).view_as(origin)
        return torch.where(order < step, noise.clamp(-1, 1) * (ball.high - ball.low), 0.0)
    if isinstance(ball, Mask):
        noise = noise * shape_mask(ball.shape, *origin.shape[-2:])
    return noise * (step / ball.measure(noise, origin)).to(origin.dtype).view(-1, *[1] * (origin.dim() - 1))


def check_ascend_steepest(ball: Threat, gradient: Tensor, step: float) -> None:
    """The step has the size asked for, no other change of that size raises the linear function more, and a
    zero gradient gives no step.
    """
    change = ball.steepest_step(gradient, step)
    origin = torch.zeros_like(gradient)
    assert torch.allclose(
        ball.measure(change, origin), torch.full((len(gradient),), step, dtype=torch.float64), rtol=1e-5
    )
    generator = torch.Generator().manual_seed(0)
    gain = (change * gradient).flatten(1).sum(1)
    for _ in range(50):
        other = change_of_size(ball, step, origin, generator)
        assert (((other * gradient).flatten(1).sum(1)) <= gain * (1 + 1e-5)).all()
    assert torch.equal(ball.steepest_step(origin, step), origin)


# --- models for the laws of attacks
# --------------------------------------------------------------------------------------------


def invariant_net(
    features: int, classes: int, *, seed: int = 0, lead: float = 0.0
) -> Callable[[Tensor], Tensor]:
    """A float64 net whose answer for a row does not depend on the other rows, bit for bit; ``lead`` favors
    class 0.
    """
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(7, features, generator=generator, dtype=torch.float64) / features**0.5 * 3
    out = torch.randn(classes, 7, generator=generator, dtype=torch.float64)
    bias = torch.zeros(classes, dtype=torch.float64)
    bias[0] = lead

    def net(z: Tensor) -> Tensor:
        activity = torch.tanh(((z.flatten(1) - 0.5)[:, None, :] * hidden).sum(-1))
        return (activity[:, None, :] * out).sum(-1) + bias

    return net


def inputs(count: int, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random inputs in [0, 1], half of their values on the faces of the box."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *shape, generator=generator, dtype=dtype)
    place = torch.rand(count, *shape, generator=generator)
    return x.masked_fill(place < 0.25, 0).masked_fill(place > 0.75, 1)


# --- attacks
# ------------------------------------------------------------------------------------------------------------


def points_of(outcome: AttackOutcome) -> Tensor:
    """What the adversary chose: the images, or a family's parameters."""
    return outcome.adversarial if outcome.params is None else outcome.params


def check_inside(outcome: AttackOutcome, x: Tensor, threat: Threat) -> None:
    """Every returned point is allowed, an image is what its parameters render, and what is broken is measured
    as the threat measures.
    """
    z = points_of(outcome)
    assert (outcome.params is not None) == isinstance(threat, ParametricThreat)
    assert outcome.adversarial.shape == x.shape
    assert outcome.adversarial.dtype == x.dtype
    assert is_allowed(threat, z, x).all()
    assert torch.equal(to_image(threat, z, x), outcome.adversarial)
    assert outcome.size.dtype == torch.float64
    assert torch.equal(outcome.size[outcome.success], threat.measure(z, x).double()[outcome.success])
    assert outcome.size[~outcome.success].isinf().all()


def check_replayable(
    outcome: AttackOutcome, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, threat: Threat
) -> None:
    """Whatever is called broken is answered wrongly when asked again, and allowed; each says by what and when
    it was found.
    """
    with torch.no_grad():
        wrong = model(outcome.adversarial).argmax(1) != y
    assert (outcome.success <= (wrong & is_allowed(threat, points_of(outcome), x))).all()
    assert not (outcome.success & outcome.error).any()
    assert [bool(name) for name in outcome.found_by] == outcome.success.tolist()
    assert torch.equal(outcome.queries_to_success > 0, outcome.success)
    assert (outcome.queries_to_success <= outcome.forwards).all()


def check_never_worse(
    outcome: AttackOutcome, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor
) -> None:
    """The returned point has at least the clean margin, and a wrong clean answer is a break of size 0."""
    with torch.no_grad():
        clean, found = model(x), model(outcome.adversarial)
    assert (margin(found, y) >= margin(clean, y) - 1e-12).all()
    wrong = clean.argmax(1) != y
    assert outcome.success[wrong].all()
    assert (outcome.size[wrong] == 0).all()


def check_split(
    attack: Attack,
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    threat: Threat,
    cuts: Sequence[list[int]] = CUTS["uneven"],
) -> None:
    """Any split, order or sharding of the batch gives the same outcome, bit for bit; each cut is of another
    random order.
    """
    ids = torch.arange(len(x)) * 3 + 11
    run = partial(attack, model, threat=threat, seed=4)
    whole = run(x=x, y=y, ids=ids)
    generator = torch.Generator().manual_seed(1)
    for sizes in cuts:
        parts = torch.randperm(len(x), generator=generator).split(sizes)
        outcomes = [run(x=x[part], y=y[part], ids=ids[part]) for part in parts]
        back = torch.cat(parts).argsort()
        for name in FIELDS:
            assert torch.equal(
                torch.cat([getattr(outcome, name) for outcome in outcomes])[back], getattr(whole, name)
            ), name
        by = [name for outcome in outcomes for name in outcome.found_by]
        assert tuple(by[place] for place in back.tolist()) == whole.found_by


def linear_task(
    threat: Threat, *, count: int = 24, shape: tuple[int, ...] = (1, 10, 6), seed: int = 0
) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor, Tensor]:
    """A two-class linear model, inputs, the normal (F,) and what each input's score lacks (B,): some can be
    broken, some cannot.
    """
    generator = torch.Generator().manual_seed(3 + seed)
    x = inputs(count, *shape, seed=5 + seed)
    w = torch.randn(x[0].numel(), generator=generator, dtype=torch.float64)
    bias = -(x.flatten(1) @ w + 0.7 * best_linear_gain(threat, w, x)).median()

    def linear(z: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(z), dtype=z.dtype), z.flatten(1) @ w + bias], 1)

    return linear, x, w, -(x.flatten(1) @ w + bias)


def check_gap(
    attack: Attack, gap: float, threat: Threat, *, shape: tuple[int, ...] = (1, 10, 6), seed: int = 0
) -> None:
    """On a two-class linear model the attack reaches all but ``gap`` of the best gain in ball and box, and
    breaks what that can break.
    """
    linear, x, w, need = linear_task(threat, shape=shape, seed=seed)
    best = best_linear_gain(threat, w, x)
    outcome = attack(linear, x, torch.zeros(len(x), dtype=torch.long), threat, seed=seed)
    assert outcome.success[(1 - gap) * best > need].all()
    assert not outcome.success[best < need * (1 - 1e-5)].any()
    gain = (outcome.adversarial - x).flatten(1) @ w
    assert (gain >= (1 - gap) * best - 1e-9)[~outcome.success].all()
    assert (~outcome.success).any()
    assert outcome.success.any()


def check_smallest(attack: Attack, gap: float, threat: Threat) -> None:
    """On a two-class linear model every change found is within ``gap`` of the smallest in ball and box, or
    too large to count.
    """
    linear, x, w, need = linear_task(threat)
    outcome = attack(linear, x, torch.zeros(len(x), dtype=torch.long), threat)
    least = smallest_linear_change(threat, w, need, x)
    slack = torch.ceil(least * gap) if threat.spec.startswith("l0") else least * gap
    assert outcome.success[least + slack <= threat.eps].all()
    assert (outcome.size <= least + slack + 1e-12)[outcome.success].all()
    assert (outcome.size >= least * (1 - 1e-6))[outcome.success].all()
    assert not outcome.success[least > threat.eps * (1 + 1e-6)].any()
    assert (outcome.success & (need > 0)).any()


def check_beats_random(attack: Attack, threat: Threat) -> None:
    """On a net that nothing breaks, the attack climbs higher than as many random points of the ball as it
    asked questions.
    """
    x = inputs(12, 1, 5, 5, seed=2)
    y = torch.zeros(12, dtype=torch.long)
    model = invariant_net(25, 3, seed=1, lead=40.0)
    outcome = attack(model, x, y, threat)
    assert not outcome.success.any()
    climbed = margin(model(outcome.adversarial), y)
    questions = int((outcome.forwards + outcome.backwards).max())
    draw = ExampleRNG(9, torch.arange(12))
    guesses = (to_image(threat, threat.sample(x, draw.fold_in(turn)), x) for turn in range(questions))
    random = torch.stack([margin(model(guess), y) for guess in guesses]).amax(0)
    assert climbed.mean() > random.mean()


def check_metered(attack: Attack, threat: Threat) -> None:
    """The forwards add up to the rows that the model saw, and no example asks for more gradients than
    answers.
    """
    model = invariant_net(16, 3, seed=6)
    seen = [0]

    def counted(z: Tensor) -> Tensor:
        seen[0] += len(z)
        return model(z)

    x = inputs(10, 1, 4, 4, seed=3)
    outcome = attack(counted, x, model(x).argmax(1).roll(1), threat)
    assert int(outcome.forwards.sum()) == seen[0]
    assert (outcome.backwards <= outcome.forwards).all()
    assert (outcome.forwards >= 1).all()


def check_budget(attack: Attack, threat: Threat, queries: int) -> None:
    """No example is asked about more often than its budget, and the attack still gives an outcome that
    holds.
    """
    x = inputs(10, 1, 4, 4, seed=3)
    model = invariant_net(16, 3, seed=6)
    y = model(x).argmax(1)
    outcome = attack(model, x, y, threat, max_queries=queries)
    assert (outcome.forwards <= queries).all()
    check_inside(outcome, x, threat)
    check_replayable(outcome, model, x, y, threat)


def check_targeted(attack: Attack, threat: Threat) -> None:
    """What is called broken is answered with its target, and a clean answer that is the target already is a
    break of size 0.
    """
    x = inputs(14, 1, 4, 4, seed=3)
    model = invariant_net(16, 3, seed=6)
    y = model(x).argmax(1)
    targets = (y + 1 + torch.arange(14) % 2) % 3
    y[:2], targets[:2] = targets[:2].clone(), y[:2].clone()
    outcome = attack(model, x, y, threat, targets=targets)
    check_inside(outcome, x, threat)
    check_replayable(outcome, model, x, y, threat)
    assert torch.equal(model(outcome.adversarial).argmax(1)[outcome.success], targets[outcome.success])
    assert outcome.success[:2].all()
    assert (outcome.size[:2] == 0).all()


def check_labels_suffice(attack: Attack, threat: Threat) -> None:
    """An attack that says that it needs labels alone finds the same from a model that gives nothing else."""
    x = inputs(8, 1, 4, 4, seed=3)
    model = invariant_net(16, 3, seed=6)
    y = model(x).argmax(1)

    def labeled(z: Tensor) -> Tensor:
        return nn.functional.one_hot(model(z).argmax(1), 3).to(z.dtype)

    whole, poor = attack(model, x, y, threat), attack(labeled, x, y, threat)
    for name in FIELDS:
        assert torch.equal(getattr(whole, name), getattr(poor, name)), name


class Interrupted(RuntimeError):
    """Raised by a model in the middle of an attack."""


class Fragile(nn.Module):
    """A small net with weights, batch statistics and dropout, which fails at a chosen call."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)
        )
        self.layers[-1].bias.data[0] = 10.0
        self.calls, self.fail_at = 0, fail_at

    def forward(self, z: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.fail_at:
            raise Interrupted
        return self.layers(z.flatten(1))


def check_untouched(attack: Attack, threat: Threat, *, fail_at: int | None) -> None:
    """Weights, statistics, gradients, modes, inputs and the global generator are as before, also where the
    model fails.
    """
    torch.manual_seed(0)
    net = Fragile(fail_at).eval()
    net.layers[0].weight.grad = torch.ones_like(net.layers[0].weight)
    x, y = inputs(6, 1, 3, 3, dtype=torch.float32), torch.zeros(6, dtype=torch.long)
    before = copy.deepcopy(net.state_dict()), x.clone(), torch.get_rng_state(), torch.is_grad_enabled()
    try:
        attack(net, x, y, threat, seed=3)
        assert fail_at is None
    except Interrupted:
        assert fail_at is not None
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before[0].items())
    assert torch.equal(x, before[1])
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.is_grad_enabled() == before[3]
    assert torch.equal(net.layers[0].weight.grad, torch.ones_like(net.layers[0].weight))
    assert all(weight.grad is None for weight in list(net.parameters())[1:])
    assert all(weight.requires_grad for weight in net.parameters())
    assert not any(module.training for module in net.modules())
