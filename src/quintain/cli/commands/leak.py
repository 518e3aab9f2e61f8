"""``quintain leak``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import EVALUATED, RUN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from quintain.cli.call import VerbCall
    from quintain.cli.leak_inputs import LeakInputs
    from quintain.core.registry import Entry
    from quintain.evaluate.steps.leaks import LeakPlan
    from quintain.results.records import NotDone


def run(
    call: "VerbCall",
    attacks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ATTACK]...",
            help="Names from 'quintain list leak'; if none is given, the first of each goal that model and "
            "data allow.",
        ),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option("--attack", help="The same as ATTACK; repeatable.", show_default=False),
    ] = None,
    public: Annotated[
        str,
        typer.Option(
            help="Other examples of the same kind, which the model never saw, as --data takes them; its "
            "splits val and test if not given.",
            show_default=False,
        ),
    ] = "",
    access: Annotated[
        Literal["labels", "scores", "gradients"] | None,
        typer.Option(
            help="What the attacker sees; all that the model gives if not given.", show_default=False
        ),
    ] = None,
    budget: Annotated[int, typer.Option(help="Queries for each candidate, at most.", min=1)] = 1000,
    candidates: Annotated[
        int, typer.Option(help="Training examples that are guessed about, at most.", min=2)
    ] = 1000,
    shadows: Annotated[
        int, typer.Option(help="Shadow models, where an attack needs some; an even number.", min=4)
    ] = 16,
    canaries: Annotated[
        int,
        typer.Option(
            help="Train a second model with so many mislabeled examples, which are told more easily: a worst "
            "case.",
            min=0,
        ),
    ] = 0,
    train: Annotated[
        str,
        typer.Option(
            help="How the model was trained, for shadow models: mine.py:train, a function (net, dataset, "
            "seed).",
            show_default=False,
        ),
    ] = "",
    epochs: Annotated[
        int | None,
        typer.Option(
            help="The same by Quintain's own training: for so many epochs.", show_default=False, min=1
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="With --epochs: examples per step.", min=1)] = 128,
    learning_rate: Annotated[float, typer.Option(help="With --epochs: the learning rate.")] = 1e-3,
    private: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of 'quintain privatize' that trained the model: what its accountant allows "
            "attackers to find out stands beside what they find.",
            show_default=False,
        ),
    ] = None,
    claim: Annotated[
        float | None,
        typer.Option(
            help="The epsilon that is claimed for the model, without --private.", show_default=False
        ),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(help="With --claim: its delta; 1e-5 if not given.", show_default=False),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of each reconstruction from an update.", min=1)] = 800,
    attribute: Annotated[
        str,
        typer.Option(
            help="What is sensitive of each example, for attacks that guess it: a number of vectors (3), its "
            "name in feature_names of the .npz (age), or rows and columns of pixels (0:4,0:4).",
            show_default=False,
        ),
    ] = "",
    show_private: Annotated[
        bool,
        typer.Option(
            help="Store the originals and their reconstructions, and show them in the report; "
            "those of bundled data always are."
        ),
    ] = False,
) -> int:
    from quintain.cli.leak_attacks import default_attacks, refuse_options
    from quintain.cli.leak_inputs import LeakInputs
    from quintain.core.registry import get_entry
    from quintain.results.run_layout import UNFINISHED

    inputs = LeakInputs(
        call=replace(call, needs_float64=True, split="train", resume_dir=UNFINISHED, keeps_data_secret=True),
        public=public,
        access=access,
        budget=budget,
        candidates=candidates,
        shadows=shadows,
        canaries=canaries,
        train=train,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        private=private,
        claim=claim,
        delta=delta,
        steps=steps,
        attribute=attribute,
        show_private=show_private,
    )
    names = dict.fromkeys((*(attacks or ()), *(attack or ())))
    named = [get_entry("leak", name) for name in names]
    refuse_options(inputs, named)
    if named:
        return _attack(inputs, named, ())
    chosen, missing = default_attacks(inputs)
    return _attack(inputs, chosen, missing, skip_impossible=True)


def _attack(
    inputs: "LeakInputs",
    chosen: "Sequence[Entry]",
    missing: "tuple[NotDone, ...]",
    *,
    skip_impossible: bool = False,
) -> int:
    """Attack the model and the updates of its net, and return the exit code.

    Args:
        inputs: The model, the data and what is claimed.
        chosen: The attacks.
        missing: Goals that cannot be attacked here.
        skip_impossible: Say what turns out to be impossible in place of raising.

    Raises:
        SettingError: If there is nothing to do.
        ModelError: If an attack that was named cannot be run on this model, or none could.
        ExecutionError: After what was found is stored and shown, if a training failed, or another goal cannot
            be attacked.
    """
    from quintain.cli.leak_attacks import build_attack, is_on_model
    from quintain.core.errors import ModelError, SettingError
    from quintain.evaluate.leaks.choice import REMEDY
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.leak import run_leak
    from quintain.evaluate.steps.leaks import IMPOSSIBLE, check_leaks, merge_leaks, run_leaks
    from quintain.results.privacy_records import LeakResult
    from quintain.results.records import NotDone

    call = inputs.call
    on_updates = [entry for entry in chosen if not is_on_model(entry)]
    on_model = tuple(build_attack(inputs, entry) for entry in chosen if is_on_model(entry))
    if not chosen:
        raise SettingError(f"no leakage attack can be run here: {'; '.join(map(str, missing))}")
    if len(on_updates) > 1:
        raise SettingError(
            f"got {' and '.join(entry.name for entry in on_updates)}, which each reconstruct one picture; "
            "expected one of them a run"
        )
    # data and model are loaded, and what is wrong with them said, before the folder is announced
    plan, net = inputs.plan if on_model else None, call.net() if on_updates else None
    if plan is not None and not skip_impossible:
        check_leaks(plan, on_model, folder=call.folder)

    untrained = inputs.model_notes if plan is not None else ()
    results: list[LeakResult] = []

    def attack_model(plan: "LeakPlan") -> StepOutput:
        return run_leaks(
            plan,
            on_model,
            skip_impossible=skip_impossible,
            folder=call.folder,
            show=inputs.shows_pictures,
            unfinished=call.unfinished,
            progress=call.progress,
        )

    def attack_updates(net: "nn.Module") -> StepOutput:
        entry = on_updates[0]
        output = run_leak(
            net,
            call.examples,
            attack=entry.load(),
            steps=inputs.steps,
            seed=call.seed,
            folder=call.folder,
            show=inputs.shows_pictures,
            unfinished=call.unfinished,
            progress=call.progress,
        )
        assert isinstance(output.result, LeakResult)
        found = output.result.reconstructions
        reason = found[0].failure_reason if found else ""
        if reason and not skip_impossible:
            raise ModelError(
                f"{entry.name} cannot be run here: in a plain update is {reason}. Expected a net that still "
                "learns of its examples: an untrained one (without --weights), or other --data"
            )
        return output

    def work() -> StepOutput:
        found = [] if plan is None else [attack_model(plan)]
        not_done, failed = [*missing], ""
        try:
            found += [] if net is None else [attack_updates(net)]
        except IMPOSSIBLE as error:
            if not found:
                raise
            failed = "" if skip_impossible else str(error)
            not_done.append(NotDone(f"pictures ({on_updates[0].name})", str(error), REMEDY))
        output = merge_leaks(*found)
        assert isinstance(output.result, LeakResult)
        result = replace(output.result, failure_reason=output.result.failure_reason or failed)
        results.append(result)
        not_done += output.not_done
        if not (result.measurements or result.reconstructions):
            raise ModelError(f"no leakage attack could be run: {'; '.join(map(str, not_done))}")
        notes = (*inputs.notes, *untrained, *output.notes)
        return replace(output, result=result, notes=notes, not_done=tuple(not_done))

    code = call.run_resumable(work)
    call.raise_if_stopped(results[0].failure_reason)
    return code


VERB = Command(
    "leak",
    run,
    "Attack what a model gives away: who was trained on, what people look like, what an update holds; each "
    "beside what needs no access to it.",
    (
        "--model net.py:make --weights w.safetensors --data mine.npz --train mine.py:train",
        "lira --weights runs/p/models/private.safetensors --private runs/p --require "
        "'membership_tpr(fpr=1%) <= 10 %'",
    ),
    before=EVALUATED,
    after=RUN,
)
