"""A module's output with watched tensors in it, so that what a loss does with them is seen."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from quintain.dp.capture.output_tensors import has_logits
from quintain.dp.capture.watched_tensor import REDUCED, WHOLE_BATCH, Watcher, mark_watched


def watch_outputs(
    output: Any, outputs: Sequence[Tensor], watched_list: list[Tensor], watcher: Watcher
) -> Any:
    """Return a module's output with some of its tensors replaced by watched ones.

    Subclasses of dict, data classes and objects with logits are changed in place.

    Args:
        output: A tensor, or tensors nested in lists, tuples, dicts, data classes and objects with logits.
        outputs: The tensors in it to watch.
        watched_list: Gets the watched tensors, in order.
        watcher: What is called on their use.
    """
    if isinstance(output, Tensor):
        if type(output) is not Tensor or not any(output is x for x in outputs):
            return output
        watched = output.view_as(output) if output.is_leaf else output
        watched_list.append(mark_watched(watched, watcher, WHOLE_BATCH if watched.dim() else REDUCED))
        return watched_list[-1]
    if type(output) in (list, tuple):
        return type(output)(watch_outputs(part, outputs, watched_list, watcher) for part in output)
    if type(output) is dict:
        return {key: watch_outputs(part, outputs, watched_list, watcher) for key, part in output.items()}
    if isinstance(output, tuple) and hasattr(output, "_make"):
        return output._make(watch_outputs(part, outputs, watched_list, watcher) for part in output)
    if isinstance(output, dict):
        for key, part in list(output.items()):
            output[key] = watch_outputs(part, outputs, watched_list, watcher)
    elif is_dataclass(output) and not isinstance(output, type):
        for name in (part.name for part in fields(output)):
            object.__setattr__(
                output, name, watch_outputs(getattr(output, name, None), outputs, watched_list, watcher)
            )
    elif has_logits(output):
        for name, part in list(vars(output).items()):
            vars(output)[name] = watch_outputs(part, outputs, watched_list, watcher)
    return output
