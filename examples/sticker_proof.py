"""A sticker-proof classifier: votes over bands of an X-ray, proven against any sticker at any place."""

import quintain as q
from quintain.models import xray_cnn

STICKER = q.Patch(0.01)


def main() -> None:
    """Train a net on bands of the bundled X-rays, certify the votes of 200 others, and attack 20."""
    data = q.load_data("xrays")
    net = xray_cnn()
    recipe = q.training.Recipe(8, learning_rate=3e-3)
    q.harden.fit(net, data.split("train"), q.harden.AblationTraining(STICKER, recipe))

    # the model that votes: each column of the image begins a band of four, classified by itself
    model = q.certify.AblatedClassifier(q.Classifier(net.eval(), num_classes=2))
    x, y = data.split("test").sample(200, seed=0).batch(range(200))
    proof, right = model.certify(x, y, STICKER), model.predict(x) == y
    side = STICKER.patch_size(x)[0]
    print(f"{int(right.sum())} of {len(x)} right")
    print(f"{int(proof.certified.sum())} proven, against any sticker of {side} x {side} pixels at any place")

    attack = q.attacks.PGD(10)(model, x[:20], y[:20], STICKER)
    broken, proven = attack.success & right[:20], proof.certified[:20]
    print(f"of the first 20: {int(proven.sum())} proven, {int(broken.sum())} broken by an attack")
    print(f"both: {int((broken & proven).sum())}")


if __name__ == "__main__":
    main()
