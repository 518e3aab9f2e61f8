"""An X-ray is rebuilt from the gradient of one training step, beside what is known without it.

That is a worst case: one picture, one step. Larger batches and local training give less away to this attack;
how much is measured by ``quintain.evaluate.leaks.pictures``.
"""

import numpy as np

from quintain.core.statistics import psnr
from quintain.data import xrays
from quintain.leakage import invert_gradient
from quintain.leakage.judges.pictures import KnownPictures
from quintain.leakage.local_steps import ONE_STEP, site_update
from quintain.models import xray_cnn


def main() -> None:
    """A site sends the gradient of one X-ray; whoever sees it rebuilds the X-ray."""
    data = xrays().train
    x, y = data.batch([100])
    public = data.subset(range(1000, 2000))
    net = xray_cnn().eval()
    update = site_update(net, x, y, ONE_STEP)
    found = invert_gradient(net, update, data.shape, steps=400)
    quality = psnr(float(np.square(found.image.numpy() - x[0].numpy()).mean()))
    known, _ = KnownPictures(public.batch(range(1000))[0].numpy(), public.labels).best(x.numpy())
    print(
        f"rebuilt at {quality:.1f} dB (label {found.label}, in truth {int(y)}); "
        f"the best of a mean, {len(public)} public X-rays and one color has {known[0]:.1f} dB"
    )


if __name__ == "__main__":
    main()
