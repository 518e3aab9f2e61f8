import torch
from torch import nn

from quintain.models.parts import first_floating, in_training, parts


def test_any_part_in_training_counts() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.ReLU())).eval()
    assert not in_training(parts(net))
    net[1][0].train()
    assert in_training(parts(net))
    net[1][0].eval()
    net.train(False)
    net.training = True
    assert in_training(parts(net))


def test_parts_are_pytorchs_own_modules_in_their_order() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert [id(part) for part in parts(net)] == [id(part) for part in net.modules()]


def test_the_first_floating_tensor_is_a_parameter_if_there_is_one() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 3))
    assert first_floating(parts(net)) is net[1].weight
    assert first_floating([nn.BatchNorm1d(2, affine=False)]) is not None
    counting = nn.Module()
    counting.register_buffer("count", torch.zeros(1, dtype=torch.long))
    counting.register_buffer("absent", None)
    assert first_floating([counting]) is None
