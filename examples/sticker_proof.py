"""A classifier that votes over bands of an X-ray, with a certificate against any sticker at any place."""

import quintain as q
from quintain.models import xray_cnn

STICKER = q.Patch(0.01)


def main() -> None:
    """Train a net on bands of the bundled X-rays, certify it on 200 test X-rays, and attack 20 of them."""
    data = q.load_data("xrays")
    net = xray_cnn()
    recipe = q.training.Recipe(8, learning_rate=3e-3)
    q.harden.fit(net, data.split("train"), q.harden.AblationTraining(STICKER, recipe))

    # the model that votes: each column of the image begins a band of four, classified by itself
    model = q.certify.AblatedClassifier(q.Classifier(net.eval(), num_classes=2))
    x, y = data.split("test").sample(200, seed=0).batch(range(200))
    certificate, correct = model.certify(x, y, STICKER), model.predict(x) == y
    side = STICKER.patch_size(x)[0]
    print(f"{int(correct.sum())} of {len(x)} classified correctly")
    print(f"{int(certificate.certified.sum())} certified: no sticker of {side} x {side} pixels changes them")

    attack = q.attacks.PGD(10)(model, x[:20], y[:20], STICKER)
    broken, certified = attack.success & correct[:20], certificate.certified[:20]
    print(f"of the first 20: {int(certified.sum())} certified, {int(broken.sum())} broken by an attack")
    print(f"certified and broken, which would be a contradiction: {int((broken & certified).sum())}")


if __name__ == "__main__":
    main()
