"""Pictures of a run folder: what can be drawn, and what is shown beside it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from quintain.attacks import FGSM, PGD
from quintain.attacks.outcome import AttackOutcome
from quintain.core.files import sha256_file
from quintain.data.dataset import from_arrays
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.images import drawable, store_picture
from quintain.evaluate.model import named_model
from quintain.models.classifier import Classifier
from quintain.threats import Linf, parse
from tests.evaluate.support.attacked import net, run


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


@pytest.mark.parametrize("classes", [2, 3])
def test_each_fooled_picture_is_another_example_and_is_what_was_stored(tmp_path, classes):
    generator = np.random.default_rng(0)
    images = generator.random((20, 1, 3, 3)).astype(np.float32)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, classes)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.from_numpy(generator.normal(size=(classes, 9))))
        model[1].bias.copy_(torch.tensor([0.0, 0.0, -1.0])[:classes])
        labels = model(torch.from_numpy(images)).argmax(1).clamp(max=1).numpy()
    subject = named_model(Classifier(model, num_classes=classes), "pictured", "model")
    attacks = {"fgsm": FGSM(), "pgd": PGD(steps=10)}
    found = run_attacks(
        subject,
        from_arrays(images, labels, num_classes=2),
        [Linf(0.05), Linf(0.1), Linf(0.3)],
        attacks,
        folder=tmp_path,
        num_pictures=12,
        batch_size=8,
    )
    pictures = [picture for row in found.gallery for picture in row]
    assert len(found.gallery) > 5
    assert len({picture.path for picture in pictures}) == len(pictures)
    assert all(sha256_file(tmp_path / picture.path) == picture.sha256 for picture in pictures)


def test_pictures_of_a_model_that_gives_labels_show_no_confidence(tmp_path):
    tiny = net()

    class Labels:
        name, num_classes, hash, num_parameters, device, dtype, access = (
            "m",
            2,
            "h",
            0,
            torch.device("cpu"),
            torch.float32,
            "labels",
        )

        def __call__(self, x):
            return nn.functional.one_hot(tiny(x).argmax(1), 2).float()

    def walk(model, x, y, threat, *, seed=0, ids=None):
        return PGD(steps=8)(Classifier(tiny), x, y, threat, seed=seed, ids=ids)

    rows = run(
        named_model(Labels(), "m", "m"), attacks={"walk": walk}, folder=tmp_path, num_pictures=2
    ).gallery
    assert len(rows) == 2
    assert all("%" not in picture.caption for row in rows for picture in row)
    shown = run(folder=tmp_path, num_pictures=2).gallery
    assert all("%" in row[0].caption and "x10" in row[1].caption and "%" in row[2].caption for row in shown)


def test_pictures_of_a_family_are_shown_like_those_of_a_ball(tmp_path):
    def shine(model, x, y, threat, *, seed=0, ids=None):
        params = threat.project(torch.ones_like(threat.identity(x)), x)
        z = threat.render(x, params)
        broken, none = model(z).argmax(1) != y, torch.zeros(len(x), dtype=torch.bool)
        many = torch.ones(len(x), dtype=torch.long)
        size = torch.where(broken, threat.measure(params, x), torch.inf)
        return AttackOutcome(z, broken, size, many, 0 * many, none, ("",) * len(x), many * broken, params)

    found = run(
        threats=[parse("color:brightness=0.4")], attacks={"shine": shine}, folder=tmp_path, num_pictures=2
    )
    assert len(found.gallery) == 2
    assert all(len(row) == 3 and (tmp_path / row[2].path).exists() for row in found.gallery)
    assert found.rows[0].eps == 1
