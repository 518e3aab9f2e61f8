"""Reconstruct an X-ray from the gradient of one training step, and compare it with the best guess without it.

That is the worst case: one image, one step. Larger batches and local training give less away to this attack;
``quintain.evaluate.leaks.pictures`` measures how much.
"""

import numpy as np

from quintain.core.statistics import psnr
from quintain.data import xrays
from quintain.leakage import invert_gradient
from quintain.leakage.judges.pictures import KnownPictures
from quintain.leakage.local_steps import ONE_STEP, site_update
from quintain.models import xray_cnn


def main() -> None:
    """A site sends the gradient of one X-ray; whoever sees the gradient reconstructs the X-ray."""
    data = xrays().train
    x, y = data.batch([100])
    public = data.subset(range(1000, 2000))
    net = xray_cnn().eval()
    update = site_update(net, x, y, ONE_STEP)
    found = invert_gradient(net, update, data.shape, steps=400)
    quality = psnr(float(np.square(found.image.numpy() - x[0].numpy()).mean()))
    # without the gradient: the mean X-ray, the nearest public one, or a plain image of the right mean gray
    public_images = public.tensors[0].numpy()
    known, _ = KnownPictures(public_images, public.labels).best(x.numpy())
    print(
        f"reconstructed at {quality:.1f} dB (label {found.label}, true label {int(y)}); "
        f"the best guess without the gradient has {known[0]:.1f} dB"
    )


if __name__ == "__main__":
    main()
