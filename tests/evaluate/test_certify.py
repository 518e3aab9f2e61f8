"""Proofs of each example, whatever the batches and methods."""

from dataclasses import replace

import numpy as np

from quintain.certify import CROWN, BranchAndBound, IntervalBounds
from quintain.evaluate import certify
from quintain.evaluate.certificate_chunks import CertificateStore
from quintain.evaluate.certify import best_certification, certify_examples
from tests.evaluate.support.trained_net import SIZES, points


def test_an_error_of_any_method_is_an_error(subject):
    data = points()
    one = certify_examples(subject, data, SIZES, IntervalBounds(), method="one")
    flags = list(one.examples.invalid)
    flags[3] = True
    other = replace(one, method="other", examples=replace(one.examples, invalid=tuple(flags)))
    for proofs in ([one, other], [other, one]):
        together = best_certification(proofs)
        assert together.examples.invalid == tuple(flags)
        assert together.examples.certified_radius == one.examples.certified_radius
    assert best_certification([]) is None


def test_proofs_of_any_batch_size_are_the_same(subject):
    whole = certify_examples(subject, points(), SIZES, IntervalBounds(), method="interval bounds")
    assert (
        certify_examples(
            subject, points(), SIZES, IntervalBounds(), method="interval bounds", batch_size=7
        ).examples
        == whole.examples
    )


def test_asked_sizes_are_decided_exactly(subject):
    data = points()
    proved = certify_examples(subject, data, SIZES, IntervalBounds(), method="interval bounds").examples
    x, y = data.batch(np.arange(len(data)))
    for threat in SIZES:
        certified = IntervalBounds()(subject.model, x, y, threat).certified.numpy()
        assert [radius >= threat.eps for radius in proved.certified_radius] == certified.tolist()


def test_of_an_expensive_certifier_only_the_asked_sizes_are_decided(subject):
    data = points()
    cheap, dear = (
        certify_examples(subject, data, SIZES, certifier, method=certifier.title).examples.certified_radius
        for certifier in (IntervalBounds(), CROWN())
    )
    assert set(dear) <= {0.0, *(threat.eps for threat in SIZES)}
    for threat in SIZES:
        proved = [[radius >= threat.eps for radius in radii] for radii in (cheap, dear)]
        assert all(crown >= interval for interval, crown in zip(*proved, strict=True))


def test_a_search_is_saved_by_few_examples_however_fast_the_net_is(subject, tmp_path, monkeypatch):
    """A kill loses at most 8 examples, each of which may take some seconds."""
    data = points()
    monkeypatch.setattr(certify, "smallest_batch", lambda *_: None)
    sizes = []

    def saved(folder, certifier):
        put = CertificateStore.put
        monkeypatch.setattr(
            CertificateStore, "put", lambda self, chunk: (sizes.append(len(chunk.rows)), put(self, chunk))
        )
        found = certify_examples(
            subject, data, SIZES, certifier, method="search", checkpoint_dir=tmp_path / folder
        )
        monkeypatch.setattr(CertificateStore, "put", put)
        return found.examples

    search = BranchAndBound(seconds=60.0, max_bounds=20)
    in_chunks = saved("search", search)
    assert sum(sizes) == len(data)
    assert max(sizes) <= 8
    assert in_chunks == certify_examples(subject, data, SIZES, search, method="search").examples
