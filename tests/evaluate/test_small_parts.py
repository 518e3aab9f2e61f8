"""Subjects, pictures, checks and records."""

from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from quintain.core.errors import ModelError
from quintain.data import load_data
from quintain.data.dataset import from_arrays
from quintain.evaluate.images import drawable, store_picture
from quintain.evaluate.model import clean_counts, predictions, save_model
from quintain.evaluate.step import StepOutput, record_step
from quintain.evaluate.steps.check import run_check
from quintain.evaluate.training import describe_settings
from quintain.harden import PGDTraining
from quintain.models import load_model
from quintain.models.classifier import Classifier
from quintain.models.nets import xray_cnn
from quintain.results.records import PackageVersion
from quintain.results.robustness_records import CheckResult
from quintain.threats import Linf


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


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_survive_to_a_level_of_255(tmp_path, channels):
    picture = torch.rand(channels, 5, 7, generator=torch.Generator().manual_seed(0))
    stored_picture = store_picture(tmp_path, "p", picture, "caption")
    back = torch.from_numpy(np.asarray(Image.open(tmp_path / stored_picture.path)).copy()).float() / 255
    back = back[None] if channels == 1 else back.permute(2, 0, 1)
    assert (back - picture).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("shape", "yes"), [((1, 28, 28), True), ((3, 8, 8), True), ((4, 8, 8), False), ((784,), False)]
)
def test_what_can_be_drawn(shape, yes):
    assert drawable(shape) is yes


def test_a_check_counts_classes_and_finds_nothing_wrong_with_the_bundled_data():
    body = run_check(load_data("xrays"), None).result
    assert isinstance(body, CheckResult)
    assert dict(body.class_counts)["test"] == (234, 390)
    assert not [finding for finding in body.findings if finding.level == "error"]


def test_a_record_says_how_it_came_about():
    body = run_check(load_data("xrays"), None).result
    record = record_step(
        lambda: StepOutput(body, notes=("n",)), command="quintain check", seed=3, data=("xrays", "h")
    )
    assert record.provenance.seconds >= 0
    assert record.provenance.threads == torch.get_num_threads()
    assert PackageVersion("torch", version("torch")) in record.provenance.versions
    assert record.notes == ("n",)


def test_settings_of_a_training_name_its_threat():
    text = describe_settings(PGDTraining(Linf(4 / 255)))
    assert text.startswith("threat linf:4/255, ")
    assert "learning rate" in text
