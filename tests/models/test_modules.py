import torch
from torch import nn

from quintain.models.modules import all_modules, any_training, first_floating_tensor


def test_any_part_in_training_counts() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.ReLU())).eval()
    assert not any_training(all_modules(net))
    net[1][0].train()
    assert any_training(all_modules(net))
    net[1][0].eval()
    net.train(False)
    net.training = True
    assert any_training(all_modules(net))


def test_parts_are_pytorchs_own_modules_in_their_order() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert [id(part) for part in all_modules(net)] == [id(part) for part in net.modules()]


def test_the_first_floating_tensor_is_a_parameter_if_there_is_one() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 3))
    assert first_floating_tensor(all_modules(net)) is net[1].weight
    assert first_floating_tensor([nn.BatchNorm1d(2, affine=False)]) is not None
    counting = nn.Module()
    counting.register_buffer("count", torch.zeros(1, dtype=torch.long))
    counting.register_buffer("absent", None)
    assert first_floating_tensor([counting]) is None
