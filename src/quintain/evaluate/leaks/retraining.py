"""A second training like the target's, which an interrupted run need not repeat."""

from torch import nn

from quintain.core.files import sha256
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.job import LeakJob
from quintain.models.fingerprint import function_fingerprint
from quintain.models.weights import load_weights, save_weights


def train_again(job: LeakJob, data: Dataset, *, label: str) -> nn.Module:
    """Return a fresh net of the target's architecture, trained on some data as the target was.

    Where the job keeps finished parts, its weights are one of them, by the content of the data, the target's
    title, what trains it, with the hash of its file, and the seed.

    Args:
        job: Says how the target was trained.
        data: What is trained on.
        label: Its seed follows from it, as well as the name of its file.

    Raises:
        SettingError: If the target's architecture or training is not known.
    """
    build, train = job.target.training.build, job.target.training.train
    seed = derive_seed(job.seed, label)
    net = build(seed).to(job.target.model.device)
    path = None
    if job.unfinished is not None:
        how = function_fingerprint(train)
        key = sha256(f"{job.target.title} {data.hash} {seed} {net!r} {how}".encode())[:16]
        path = job.unfinished / f"{label.replace(' ', '-')}-{key}.safetensors"
        if path.exists():
            return load_weights(net, path).eval()
    train(net, data, seed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(net, path)
        path.chmod(0o600)  # what it was trained on is private
    return net.eval()
