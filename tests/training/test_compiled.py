"""A net that is compiled is trained as the net itself is, and the net has the weights."""

import copy

import pytest
import torch

from quintain import harden
from quintain.certify import IntervalBounds
from quintain.core.errors import ModelError, RunFolderError
from quintain.models.classifier import Classifier
from quintain.threats import Linf
from quintain.training import Recipe
from tests.training.test_bfloat16 import blobs
from tests.training.test_bfloat16 import net as make_net

DEFENSE = harden.PGDTraining(Linf(0.05), Recipe(2, 16, 0.05), steps=2)


@pytest.mark.exhaustive
def test_a_compiled_net_shares_what_it_learns_with_the_net(tmp_path):
    """Its graphs run as they are (no inductor), so that the weights are the same to the last bit."""
    graphs = []

    def run_as_it_is(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    plain, net = make_net(), make_net()
    assert all(map(torch.equal, plain.parameters(), net.parameters()))
    before = copy.deepcopy(net.state_dict())
    compiled = torch.compile(net, backend=run_as_it_is)
    harden.fit(plain, blobs(), DEFENSE)
    harden.fit(compiled, blobs(), DEFENSE, checkpoint=tmp_path / "c")
    assert graphs
    assert all(map(torch.equal, plain.parameters(), net.parameters()))
    assert not torch.equal(before[next(iter(before))], next(net.parameters()))
    assert not net.training

    # a finished checkpoint is that of the compiled net, which has other names for its weights
    again = make_net()
    harden.fit(torch.compile(again, backend=run_as_it_is), blobs(), DEFENSE, checkpoint=tmp_path / "c")
    assert all(map(torch.equal, again.parameters(), net.parameters()))
    with pytest.raises(RunFolderError):
        harden.fit(make_net(), blobs(), DEFENSE, checkpoint=tmp_path / "c")

    # certificates hold for the net, whose operations are in the order in which they were bounded
    x, y = blobs().batch(range(4))
    assert IntervalBounds()(Classifier(net), x, y, "linf:0.001").certified.any()
    with pytest.raises(ModelError, match="the net is compiled"):
        IntervalBounds()(Classifier(compiled), x, y, "linf:0.001")
