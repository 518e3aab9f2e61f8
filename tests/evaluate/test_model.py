"""Models that are stored, and what they answer."""

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import ModelError
from quintain.data import load_data
from quintain.data.dataset import from_arrays
from quintain.evaluate.model import clean_counts, predictions, save_model
from quintain.models import load_model
from quintain.models.classifier import Classifier
from quintain.models.nets import xray_cnn


def test_a_stored_model_is_the_same_subject_when_it_is_loaded(tmp_path):
    subject = save_model(xray_cnn(seed=5), tmp_path, "net", "a net", classes=2)
    again = load_model("xray-cnn", tmp_path / subject.file.path, num_classes=2)
    assert again.hash == subject.file.model_hash
    assert subject.file.num_parameters == 109_042


def test_answers_mark_what_gives_no_number():
    class Some(nn.Module):
        def forward(self, x):
            return torch.where(x > 0.5, torch.nan, torch.cat([x, -x], 1)[:, :2])

    data = from_arrays(np.array([[0.1], [0.9]], dtype=np.float32), [0, 1])
    assert predictions(Classifier(Some().eval(), num_classes=2), data).tolist() == [0, -1]
    with pytest.raises(ModelError, match="NaN for every example"):
        predictions(Classifier(Some().eval(), num_classes=2), data.subset([1]))


def test_right_answers_by_class():
    data = load_data("xrays").split("test")
    net = xray_cnn().eval()
    counts = clean_counts(Classifier(net, num_classes=2), data)
    assert counts.total == (234, 390)
