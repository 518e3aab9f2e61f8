"""A malicious server reads X-rays out of a secure sum of five sites, and what keeps it from that.

The sum hides which site sent what, and each site's update. It does not hide what the sum itself says: a layer
that the server puts in front of the net is written such that it says one X-ray a unit.
"""

import torch

from quintain.data import xrays
from quintain.evaluate.leaks.update_settings import UpdateSetting
from quintain.leakage import Candidates, ImprintLayer, Knowledge, UpdateView
from quintain.leakage.judges.pictures import KnownPictures, match_pictures
from quintain.models import xray_cnn

SITES = 5
SETTINGS = (
    UpdateSetting("a secure sum alone", sites=SITES),
    UpdateSetting("with noise of one clip norm", sites=SITES, clip=1.0, noise_multiplier=1.0),
    UpdateSetting("with foreign layers refused", sites=SITES, pins="layers"),
)


def main() -> None:
    """Attack the same five X-rays under each setting."""
    data = xrays().train
    x, y = data.batch(range(SITES))
    public = data.subset(range(1000, 2000))
    known, _ = KnownPictures(public.batch(range(1000))[0].numpy(), public.labels).best(x.numpy())
    net = xray_cnn().eval()
    for setting in SETTINGS:
        answer = setting.answer(net, x, y, seed=0)
        view = UpdateView(net, answer, access="sum", sites=SITES, choose=True)
        sought = Candidates(torch.full((SITES,), -1), torch.arange(SITES), data.shape)
        guess = ImprintLayer().guess(view, Knowledge(public=public), sought, budget=1, seed=0)
        assert guess.images is not None
        if not len(guess.images):
            print(f"{setting.title}: the sites refuse the net, and send nothing")
            continue
        found = match_pictures(guess.images.numpy(), x.numpy()).qualities
        rebuilt = int((found > known + 1).sum())
        print(
            f"{setting.title}: {rebuilt} of {SITES} X-rays rebuilt, at {found.mean():.0f} dB on average; "
            f"{known.mean():.0f} dB are known without it"
        )


if __name__ == "__main__":
    main()
