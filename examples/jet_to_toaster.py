"""A sticker that makes a net see a toaster beside anything: fitted on some pictures, scored on others,
printed at its true size.

As it stands it runs on the bundled X-rays with a small net, in seconds. On your own pictures, with any
torchvision model:

    python examples/jet_to_toaster.py --pictures FOLDER --model resnet18 --target 859 --area 0.11 --steps 400
    --printed
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import quintain as q
from quintain.attacks.perturbation import success_rate
from quintain.attacks.universal.printing import Printing
from quintain.data.dataset import Dataset, from_arrays
from quintain.models.nets import Normalize, xray_cnn

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def torchvision_model(name: str, weights: Path | None) -> q.Classifier:
    """A torchvision classifier with its published weights, or with a file of weights for inputs in [0, 1]."""
    from torchvision import models

    if weights is None:
        normal = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        return q.Classifier(
            nn.Sequential(normal, models.get_model(name, weights="DEFAULT")).eval(), num_classes=1000
        )
    net = models.get_model(name)
    q.models.load_weights(net, weights)
    return q.Classifier(net.eval(), num_classes=1000)


def folder(path: Path, model: q.Classifier) -> tuple[Dataset, Dataset]:
    """The middle 224 x 224 pixels of every picture below a folder, in two halves; a picture's label is what
    the model says of it.
    """
    images = []
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in SUFFIXES:
            with Image.open(file) as picture:
                scale = 256 / min(picture.size)
                resized = picture.convert("RGB").resize(
                    (round(picture.width * scale), round(picture.height * scale))
                )
            left, top = (resized.width - 224) // 2, (resized.height - 224) // 2
            images.append(np.asarray(resized.crop((left, top, left + 224, top + 224))))
    if len(images) < 4:
        raise SystemExit(f"{len(images)} pictures in {path}; expected at least 4, half of them to score on")
    values = np.stack(images)
    x = torch.from_numpy(values).permute(0, 3, 1, 2).float() / 255
    labels = torch.cat([model.predict(part) for part in x.split(16)])
    data = from_arrays(values, labels.numpy(), name=path.name, num_classes=model.num_classes)
    return data.subset(range(0, len(data), 2)), data.subset(range(1, len(data), 2))


def x_rays() -> tuple[q.Classifier, Dataset, Dataset]:
    """A small net, trained for a moment on the bundled X-rays."""
    data = q.load_data("xrays")
    net = xray_cnn()
    q.training.fit(net, data.split("train"), q.training.Recipe(4))
    return q.Classifier(net.eval(), num_classes=2), data.split("train"), data.split("test")


def main() -> None:
    """Fit, score beside a random and a gray sticker, and write the page to print."""
    parser = argparse.ArgumentParser(description="A sticker that turns a jet into a toaster.")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures; the bundled X-rays if not given")
    parser.add_argument(
        "--model", default="squeezenet1_1", help="a torchvision classifier (pip install torchvision)"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="a .safetensors file for inputs in [0, 1]; torchvision's own weights if not given",
    )
    parser.add_argument(
        "--target", type=int, help="the class to be answered: 859, a toaster, or 1, pneumonia, for the X-rays"
    )
    parser.add_argument(
        "--area", type=float, default=0.11, help="the largest fraction of the picture that it covers"
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--printed", action="store_true", help="fit it to survive a printer and a camera")
    parser.add_argument("--centimeters", type=float, default=8.0, help="its diameter on paper")
    parser.add_argument("--out", type=Path, help="the page, .pdf or .png; a temporary file if not given")
    args = parser.parse_args()

    if args.pictures is None:
        model, fitting, others = x_rays()
    else:
        model = torchvision_model(args.model, args.weights)
        fitting, others = folder(args.pictures, model)
    target = args.target if args.target is not None else (1 if args.pictures is None else 859)
    sticker = q.attacks.AdversarialPatch(
        target, args.area, steps=args.steps, printing=Printing() if args.printed else None
    )
    fitted = sticker.fit(model, fitting)
    for name, one in (
        ("the sticker", fitted),
        ("a random one", fitted.random_control()),
        ("a gray one", fitted.gray_control()),
    ):
        result = success_rate(model, others, one, seed=1, target=target, batch_size=32)
        print(
            f"{name}: {result.successes} of {result.eligible} other pictures are read as class {target}, "
            f"{result.rate:.1%}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        page = q.attacks.export_patch(
            fitted, args.out or Path(scratch) / "sticker.pdf", centimeters=args.centimeters
        )
        size = f"{page.width:g} cm across on {page.page_size[0]:g} x {page.page_size[1]:g} cm"
        print(f"{page.path.name}: {size}, non-printability {page.non_printability:.3f}")


if __name__ == "__main__":
    main()
