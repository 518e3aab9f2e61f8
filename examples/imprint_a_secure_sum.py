"""A malicious server reads X-rays out of a secure sum of five sites, until a defense stops it.

A secure sum hides each site's update, but not what the sum itself reveals. The server imprints the net: it
puts a malicious first layer in front, in which the gradient of each unit reveals one X-ray.
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
    # How near to each X-ray one comes without any update: by public X-rays, their means, or a flat gray.
    known, _ = KnownPictures(public.batch(range(1000))[0].numpy(), public.labels).best(x.numpy())
    net = xray_cnn().eval()
    for setting in SETTINGS:
        answer = setting.answer(net, x, y, seed=0)
        view = UpdateView(net, answer, access="sum", sites=SITES, choose=True)
        # The server does not know the labels of the sites' X-rays: -1.
        sought = Candidates(torch.full((SITES,), -1), torch.arange(SITES), data.shape)
        guess = ImprintLayer().guess(view, Knowledge(public=public), sought, budget=1, seed=0)
        assert guess.images is not None
        if not len(guess.images):
            print(f"{setting.title}: the sites refuse the net and send nothing")
            continue
        found = match_pictures(guess.images.numpy(), x.numpy()).qualities
        # Reconstructed: more than 1 dB closer than the best match that is known without the attack.
        num_reconstructed = int((found > known + 1).sum())
        print(
            f"{setting.title}: {num_reconstructed} of {SITES} X-rays reconstructed, {found.mean():.0f} dB on "
            f"average; the best match without the attack has {known.mean():.0f} dB"
        )


if __name__ == "__main__":
    main()
