"""What a command says where memory runs out: a note if its batches could be halved, else what to do."""

from pathlib import Path

from quintain.core.errors import ExitCode
from quintain.results.codec import load

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(28 * 28, 2)

    def forward(self, x):
        if len(x) > {room}:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB." + chr(10) + "more")
        return self.layer(x.flatten(1))

def make():
    torch.manual_seed(0)
    return Net()
"""


def test_an_attack_takes_what_fits_and_says_so(call, small):
    Path("net.py").write_text(NET.format(room=5))
    options = ("--data", small, "--model", "net.py:make", "--attack", "pgd", "--limit", 8)
    code, out, _ = call("attack", *options, "--threat", "linf:0.1", "--out", "r")
    assert code == ExitCode.OK
    told = "prediction: memory did not suffice for 8 examples at a time; 4 at a time were taken"
    assert told in " ".join(out.split())
    assert any(note.startswith(told) for note in load(Path("r") / "result.json").notes)


def test_a_training_says_in_one_line_what_lowers_its_memory(call, small):
    Path("net.py").write_text(NET.format(room=20))
    code, _, error = call("federate", "--data", small, "--model", "net.py:make", "--sites", 3, "--out", "r")
    assert code == ExitCode.EXECUTION
    assert "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB. Less is needed with" in error
    assert "--device cpu" in error
    assert "Traceback" not in error
    assert not Path("r").exists()
