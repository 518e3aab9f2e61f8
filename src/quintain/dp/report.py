"""The privacy report of private runs: what their guarantee assumes, what is enforced, and what was probed."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch.optim import Optimizer

from quintain.dp.accounting.fully_adaptive import all_fixed_beforehand
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.capture.mixing_probe import ProbeResult
from quintain.dp.step.private_step import PrivateStep

ASSUMPTIONS = (
    "the loss is a mean or sum of one term per example, as loss_reduction says. Not detected: a sum that "
    "torch does not name as one (a product with ones, einsum, a norm; it is noted in mixing_probe.remarks), "
    "a scale that is a Python number (from .item() or len()), a branch on the loss of a batch, example "
    "weights computed from the batch's labels, a mask from detached statistics of the batch, labels or "
    "inputs mixed before the pass, and a loss that torch.autograd.backward is called on. To check: replace "
    "half of a batch's rows and labels, and see that the loss changes by the same amount whatever the other "
    "half is",
    "no term and no layer depends on other examples, of its batch or kept from earlier ones. Not detected: "
    "what begins after the third pass, except in one pass in 64, and what changes outputs by less than the "
    "square root of their format's rounding unit (3e-4 of the largest in float32, 9 % in bfloat16) without a "
    "gradient. To check: run the module in training mode on a batch, replace half of its rows, and compare "
    "the outputs of the other half",
    "how far a batch is padded does not change the outputs of an example, or all batches are padded to one "
    "public length. To check: pad a batch further, and compare the outputs",
    "each row of a pass is one record of the batch drawn, in the same order for all layers and not mixed "
    "with others, and each record is one row, with its label, of the passes of a step. To check where the "
    "loop changes its batch (augments, embeds) or mixing_probe.rows is not checked: print what the loop "
    "hands to the module, and compare it to what the loader yielded last",
    "a gradient does not depend on the size of its batch. Its last digits in floating point do, and the more "
    "so the fewer bits passes run in (TF32, autocast to bfloat16). To check: leave a record out of a batch, "
    "and compare the gradients of the others",
    "no pass writes state other than tensors and arrays held by a module or its attributes. Not detected: "
    "numbers (of Python, NumPy or others), bytes, files, globals, iterators, large arrays that are "
    "read-only, and what objects more than four deep, bound methods or compiled classes hold. To check: read "
    "each forward() for what it assigns, or compare copy.deepcopy(vars(module)) before and after a pass",
    "the number of records, the expected batch size, the steps and all settings are public, and were not "
    "chosen on these data. To check: write the plan down before the first step, and compare the report to it",
    "the number of classes, which shows in the shape of the weights, is public and was not read off these "
    "labels. To check: write the classes down beforehand (class_names of an .npz), and compare their number "
    "to the last layer's",
    "the number and the order of steps follow from the plan, and not from losses or accuracies that were "
    "looked at in between",
    "where settings were chosen after releases (fixed_beforehand is False), they were chosen by what the "
    "steps released, and by nothing else of these data, such as losses",
    "losses, batch sizes, fractions of clipped gradients and accuracies on the training data that a loop "
    "shows are not covered by epsilon",
    "each record is in the data set once (subsets and concatenations that repeat one are warned of). To "
    "check: compare hashes of the records",
    "what comes before or after the private module (a head, a temperature, weights of losses) learns nothing "
    "from these records: no optimizer without privacy trains it on this loss or another. Parameters that the "
    "loss depends on are noted in mixing_probe.remarks. To check: list the parameters of all optimizers",
    "processes that train together hold the same records in the same order, so that each record is used by "
    "one of them alone. Compared are the length, the rows of subsets, tensors in memory, units, and of 16 "
    "records those parts that come out alike when read again (compared, of each run, names those that do "
    "not). To check: compare a hash of all records, before anything changes them, in each process",
    "weights that are loaded into a module, frozen ones, buffers and means of weights among them, cost what "
    "the ledger counts, or do not depend on these records. Compared are those of a whole checkpoint, and, "
    "means apart, those at the first step, get_epsilon() or save_checkpoint() after an optimizer's state was "
    "loaded. To check: compare them with what the state's run ended with",
    "a schedule's values are a function of the epoch alone, the script that makes it was not edited during "
    "training, and the times of its step() follow from the plan. Compared are 10,000 epochs from the present "
    "one, and whether as many private steps lie between two of its steps as before the first. To check, also "
    "for when the schedule steps first: read the script as it was before the first step",
    "a run that goes on from a state has the same records in the same order. To check: compare a hash of the "
    "data set",
    "steps after the state that a run goes on from were not published, or are repeated bit for bit (with a "
    "key or seed, on the same machine, where random numbers from elsewhere than torch are restored as well). "
    "To check: compare the weights after them",
)
"""What epsilon rests on and no code can prove, each with what is not detected and a way to check it."""

ENFORCED = (
    "layers that have no rule, mix examples or keep running statistics are refused",
    "parameters, buffers and tensors in attributes that a pass writes are refused by their values: small "
    "ones at each pass, those of more than 4096 numbers at the first three and one in 64, at random, and at "
    "the others as far as torch counts writes",
    "models and losses that mix examples are refused as far as probes see (see mixing_probe of each run): "
    "gradients and values of outputs, and second derivatives of the loss, at the first three passes and one "
    "in 64; labels to ignore, weights, scales and selections over the batch at each pass",
    "gradients that bypass the clipping, edited gradients, and other optimizers on the same parameters are "
    "refused",
    "parameters that are frozen, unfrozen, added or replaced afterwards are refused",
    "weights in half precision and autocast to float16 are refused; norms and sums are in full float32 or "
    "float64, whatever the passes run in (TF32, autocast to bfloat16)",
    "a record twice in a step is refused, at the first three batches of eight records or more and one in 64, "
    "where the module's input holds the numbers of the batch",
    "a step after a batch that was drawn and not used, or on another number of rows than its batch has, is "
    "refused; so is one on an earlier batch than the loader's latest, where the module is given the loader's "
    "own tensors or parts of them, or copies like those of the passes before (with the same first eight "
    "rows, all different); other numbers show in mixing_probe.rows, which is then not checked",
    "a step on passes that ran as compiled code, which no probe can look into, is refused",
    "processes that differ in settings, in bound or noise at a step, or in the part of the data that is "
    "compared are refused",
    "a step without noise in a private run, and one past the budget (stop_at_epsilon), are refused",
    "a state without its ledger, or with momentum of another time, is refused, and so is a step on other "
    "weights than those it was saved with",
)
"""What is refused while training, and how far it is detected."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """The report of one module made private, as it is now.

    Args:
        module, optimizer: Names of their classes.
        num_parameters: Number of trainable numbers.
        layers: Each trained layer and its class.
        noise_multiplier, max_grad_norm: The present settings.
        clipping: The clipping method with its settings.
        loss_reduction: What losses are taken to be: means or sums.
        expected_batch_size, num_units, steps_per_epoch: Public constants of the sampling.
        sampling: How batches are sampled.
        compared: Which parts of their data processes that train together have compared.
        unit: The privacy unit, whose presence is hidden: a record, or the name of a grouping of records.
        noise: Where the noise comes from.
        mixing_probe: What the probes for dependence between examples found, which is no proof.
        stop_at_epsilon: The privacy budget (epsilon, delta) of its steps, if there is one.
    """

    module: str
    optimizer: str
    num_parameters: int
    layers: tuple[str, ...]
    noise_multiplier: float
    max_grad_norm: float
    clipping: str
    loss_reduction: str
    expected_batch_size: int
    num_units: int
    steps_per_epoch: int
    sampling: str
    compared: str
    unit: str
    noise: str
    mixing_probe: ProbeResult
    stop_at_epsilon: tuple[float, float] | None

    @classmethod
    def of(cls, step: PrivateStep[Optimizer], noise: str) -> "RunReport":
        """Return the report of a private step as it is now, with noise from ``noise``."""
        loader, clip, budget = step.loader, step.noise_and_clip.clip, step.account.budget
        return cls(
            module=type(step.capture.root).__name__,
            optimizer=type(step.inner).__name__,
            num_parameters=sum(parameter.numel() for parameter in step.params),
            layers=tuple(f"{layer.name}: {type(layer.module).__name__}" for layer in step.capture.layers),
            noise_multiplier=step.noise_and_clip.noise_multiplier,
            max_grad_norm=clip.sensitivity,
            clipping=str(clip),
            loss_reduction=step.loss_reduction,
            expected_batch_size=loader.expected_batch_size,
            num_units=loader.num_units,
            steps_per_epoch=loader.steps_per_epoch,
            sampling=loader.sampling,
            compared=loader.compared,
            unit="record" if loader.units is None else loader.units.name,
            noise=noise,
            mixing_probe=step.probe.result,
            stop_at_epsilon=None if budget is None else (budget.epsilon, budget.delta),
        )


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """The report of private runs: what they have done, and what their epsilon assumes.

    Args:
        accountant: How epsilon is computed.
        reproducible: Whether batches or noise of any step follow from a seed: privacy then holds only against
            those who do not know it.
        secure_mode: Whether the noise of all steps is discrete.
        steps: Number of steps.
        fixed_beforehand: Whether all settings were fixed before the first step: no later make_private, no
            noise set by hand. Otherwise epsilon is computed from Renyi divergences, which allow settings that
            depend on earlier releases; ``ledger.guarantee(delta)`` shows both epsilons.
        runs: The report of each module made private.
        assumptions: What epsilon rests on and no code can prove, each with a way to check it.
        enforced: What is refused while training.
    """

    accountant: str
    reproducible: bool
    secure_mode: bool
    steps: int
    fixed_beforehand: bool
    runs: tuple[RunReport, ...]
    assumptions: tuple[str, ...] = ASSUMPTIONS
    enforced: tuple[str, ...] = ENFORCED

    @classmethod
    def of(
        cls,
        ledger: Ledger,
        runs: Sequence[RunReport],
        *,
        secure_mode: bool,
        reproducible: bool,
        accountant: str = "pld",
    ) -> "PrivacyReport":
        """Return the report of runs that record their steps in a ledger.

        Args:
            ledger: The releases.
            runs: The report of each module made private.
            secure_mode: Whether the noise of the next steps is discrete.
            reproducible: Whether batches or noise of the next steps follow from a seed.
            accountant: How epsilon is computed.
        """
        releases = ledger.releases
        return cls(
            accountant=accountant,
            reproducible=reproducible or any(release.reproducible for release in releases),
            secure_mode=secure_mode and all(release.mechanism != "gaussian" for release in releases),
            steps=ledger.steps,
            fixed_beforehand=all_fixed_beforehand(releases),
            runs=tuple(runs),
        )
