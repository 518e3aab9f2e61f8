"""The measurement of pictures behind updates: attacks and defenses on a small net."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from quintain.core.errors import DataError, ModelError, RunFolderError, SettingError
from quintain.data import from_arrays
from quintain.evaluate.leaks.goals import MEASURES
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.evaluate.leaks.pictures import measure
from quintain.evaluate.leaks.update_settings import SETTINGS, UpdateSetting
from quintain.leakage import Guess
from quintain.leakage.local_steps import LocalSteps
from quintain.leakage.updates.dense_layer import DenseLayer
from quintain.leakage.updates.fedavg_inversion import FedAvgInversion
from quintain.leakage.updates.gradient_inversion import GradientInversion
from quintain.leakage.updates.imprint import ImprintLayer
from quintain.models import BlackBox, Classifier, mlp, xray_cnn

SHAPE = (1, 8, 8)
PLAIN = SETTINGS[0]
IMPRINT = ImprintLayer(units=256)


def pictures(count, seed, shape=SHAPE):
    """Blocks of gray, of many brightnesses."""
    coarse = np.random.default_rng(seed).random((count, shape[0], 4, 4)).astype(np.float32)
    x = np.kron(coarse, np.ones((1, 1, shape[1] // 4, shape[2] // 4), np.float32))
    return from_arrays(x, [0, 1] * (count // 2), name=f"set {seed}")


@pytest.fixture
def job():
    return LeakJob(
        LeakTarget(Classifier(mlp(2, 1, 8).eval(), num_classes=2), "plain"),
        (DenseLayer(),),
        pictures(120, 1),
        pictures(300, 2),
        candidates=10,
        seed=3,
    )


def rebuilt(found):
    """The fraction rebuilt in each setting."""
    return {one.model: one.value for one in found.measurements if one.measure == "pictures rebuilt"}


def test_a_dense_net_gives_its_pictures_away_and_what_hides_them_is_measured(job):
    assert MEASURES["pictures"] is measure
    found = measure(job)
    values = rebuilt(found)
    honest = [one for one in SETTINGS if one.pins == "nothing"]
    assert list(values) == [one.title for one in honest]
    assert values[PLAIN.title] == values["clipping to 1"] == 1
    assert values["clipping to 1 and noise of 1"] == 0
    assert values["a secure sum of 5, clipping to 1 and noise of 1"] == 0
    assert values["a larger batch: 8 pictures"] < 1
    first = found.measurements[0]
    assert (first.goal, first.access, first.unit, first.count) == ("pictures", "update", "image", 10)
    assert first.candidates == "1 site, 1 picture, 1 local step (a worst case)"
    assert first.gain == 1
    assert first.low > 0.69
    assert len(first.exposed) == 10
    assert {one.measure for one in found.measurements} == {"pictures rebuilt", "PSNR in dB", "SSIM"}
    assert any(
        "8 pictures each, 4 local steps (closer to practice)" in one.candidates for one in found.measurements
    )
    assert any(
        note.startswith("dense-layer rebuilds pictures under: none: a plain update (10 of 10)")
        for note in found.notes
    )
    assert found.pictures == ()


def test_a_malicious_server_reads_a_secure_sum_until_sites_refuse_its_net(job):
    found = measure(replace(job, attacks=(IMPRINT,)))
    values = rebuilt(found)
    assert list(values) == [one.title for one in SETTINGS]
    assert values["a secure sum of 5"] > 0.9
    assert values["a secure sum of 5, clipping to 1"] > 0.9
    assert values["a secure sum of 5, clipping to 1 and noise of 1"] == 0
    assert values["a secure sum of 5, foreign models refused"] == 0
    assert all(one.access == "sum" for one in found.measurements if "secure sum" in one.model)


def test_pinned_layers_let_foreign_numbers_through_and_pinned_models_nothing(job):
    """The net begins with two linear layers, whose numbers alone imprint: fewer pictures, since few units."""
    wide = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 2)
    ).eval()
    pinned = replace(
        job, target=replace(job.target, model=Classifier(wide, num_classes=2)), attacks=(IMPRINT,)
    )
    refusing = [one for one in SETTINGS if one.pins != "nothing"]
    found = rebuilt(measure(pinned, refusing))
    assert found["a secure sum of 5, foreign layers refused"] > 0.9
    assert found["a secure sum of 5, foreign models refused"] == 0
    assert (
        rebuilt(measure(replace(pinned, budget=1), refusing))["a secure sum of 5, foreign layers refused"]
        == 0
    )


@pytest.mark.parametrize(
    "attack", [GradientInversion(steps=3), FedAvgInversion(steps=3)], ids=["gradient", "fedavg"]
)
def test_attacks_that_optimize_meet_every_setting(job, attack):
    settings = [PLAIN, *SETTINGS[3:5], SETTINGS[7]]
    found = measure(replace(job, attacks=(attack,), candidates=4), settings)
    assert list(rebuilt(found)) == [one.title for one in settings]
    assert all(one.count >= 2 for one in found.measurements)
    assert all(one.low <= one.value <= one.high for one in found.measurements)


@dataclass(frozen=True)
class Blind:
    """It answers with the same pictures whatever the update, or with none."""

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "blind"
    goal: ClassVar[str] = "pictures"
    access: ClassVar[str] = "update"
    needs: ClassVar[tuple[str, ...]] = ()
    is_iterative: ClassVar[bool] = False
    answer: str = "public"

    def guess(self, view, knowledge, candidates, *, budget, seed, progress):
        view.update()
        if self.answer == "none":
            return Guess()
        public = knowledge.public.batch(range(50))[0]
        return Guess(images=public if self.answer == "public" else public[:0])


@pytest.mark.parametrize("answer", ["public", "nothing"])
def test_an_attack_that_looks_at_no_update_gains_nothing(job, answer):
    found = measure(replace(job, attacks=(Blind(answer),)))
    assert set(rebuilt(found).values()) == {0.0}
    assert all(one.gain <= 0 for one in found.measurements)
    assert "blind rebuilds nothing in any setting, without a defense either" in found.notes[-1]


def test_pictures_are_stored_only_where_they_may_be_shown(job, tmp_path):
    assert measure(replace(job, folder=tmp_path), [PLAIN]).pictures == ()
    assert list(tmp_path.rglob("*.png")) == []
    shown = measure(replace(job, folder=tmp_path, show=True), [PLAIN]).pictures
    assert [one.title for one in shown] == ["dense-layer, none: a plain update"]
    stored = (shown[0].original, shown[0].reconstructed, shown[0].baseline)
    assert all((tmp_path / one.path).exists() for one in stored)
    assert "rebuilt, 100.0 dB" in shown[0].reconstructed.caption
    assert shown[0].reconstructed.frame == "bad"
    refused = replace(job, attacks=(IMPRINT,), folder=tmp_path, show=True)
    assert measure(refused, SETTINGS[-1:]).pictures == ()


def test_a_run_that_was_cut_off_goes_on_with_what_it_has(job, tmp_path, monkeypatch):
    whole = measure(job, [PLAIN])
    resumable = replace(job, unfinished=tmp_path)
    assert measure(resumable, [PLAIN]) == whole
    assert len(list(tmp_path.iterdir())) == 10

    def guess(*_given, **_words):
        raise AssertionError("what is kept was guessed again")

    monkeypatch.setattr(DenseLayer, "guess", guess)
    assert measure(resumable, [PLAIN]) == whole
    with pytest.raises(RunFolderError, match="other settings"):
        measure(replace(resumable, seed=4), [PLAIN])


def test_what_follows_from_the_seed(job):
    assert measure(job, [PLAIN, SETTINGS[3]]) == measure(job, [PLAIN, SETTINGS[3]])


def test_an_attack_that_does_not_fit_the_net_is_named_and_the_others_go_on(job):
    target = replace(job.target, model=Classifier(xray_cnn(size=8).eval(), num_classes=2))
    both = replace(job, target=target, attacks=(DenseLayer(), IMPRINT))
    found = measure(both, [PLAIN], skip_impossible=True)
    assert {one.attack for one in found.measurements} == {"imprint-layer"}
    assert any("dense-layer does not work on this net" in note for note in found.notes)
    with pytest.raises(ModelError, match=r"dense-layer does not work on this net: .* Take another attack"):
        measure(both, [PLAIN])


def test_settings_that_need_more_pictures_are_left_out_by_name(job):
    few = replace(job, members=pictures(12, 1))
    found = measure(few)
    left_out = found.notes[0].removeprefix("left out, as 12 pictures are too few for it: ").split("; ")
    assert "a secure sum of 5 after local training" in left_out
    assert len(left_out) == 2
    assert "a secure sum of 5 after local training" not in rebuilt(found)


def test_what_cannot_be_measured_is_refused(job):
    black_box = BlackBox(lambda x: np.zeros((len(x), 2), np.float32), num_classes=2)
    with pytest.raises(ModelError, match="sends no updates"):
        measure(replace(job, target=replace(job.target, model=black_box)))
    vectors = from_arrays(np.random.default_rng(0).random((20, 9)).astype(np.float32), [0, 1] * 10)
    with pytest.raises(DataError, match="gray or RGB pictures"):
        measure(replace(job, members=vectors, others=vectors))
    with pytest.raises(DataError, match="are also in set 1"):
        measure(replace(job, others=job.members))
    with pytest.raises(DataError, match="expected the same"):
        measure(replace(job, others=pictures(20, 2, (1, 12, 12))))
    with pytest.raises(DataError, match="at least 2 to rebuild"):
        measure(replace(job, members=job.members.subset([0])))
    with pytest.raises(ModelError, match="returned no images"):
        measure(replace(job, attacks=(Blind("none"),)), [PLAIN])


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingError, match="noise without a clip"):
        UpdateSetting("noise", noise_multiplier=1.0)
    with pytest.raises(SettingError, match="pins = 'all'"):
        UpdateSetting("pins", pins="all")


def test_a_clip_and_noise_are_as_large_as_they_say(job):
    net, (x, y) = job.target.model.net, job.members.batch(range(5))
    plain = UpdateSetting("", sites=5).answer(net, x, y, seed=0)(net)
    clipped = UpdateSetting("", sites=5, clip=0.01).answer(net, x, y, seed=0)(net)
    assert clipped.norm() <= 0.01 + 1e-9 < plain.norm()
    noisy = UpdateSetting("", sites=5, clip=0.01, noise_multiplier=3.0).answer(net, x, y, seed=0)(net)
    assert float((noisy - clipped).std()) == pytest.approx(3.0 * 0.01 / 5, rel=0.1)
    local = UpdateSetting("", sites=1, examples=5, local=LocalSteps(batch_size=2))
    assert torch.equal(local.answer(net, x, y, seed=0)(net), local.answer(net, x, y, seed=0)(net))
    assert not torch.equal(local.answer(net, x, y, seed=0)(net), local.answer(net, x, y, seed=1)(net))
