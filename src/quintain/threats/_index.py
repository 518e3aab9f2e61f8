"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.threats.color import Color as Color
    from quintain.threats.compose import Compose as Compose
    from quintain.threats.l0 import L0 as L0
    from quintain.threats.l1 import L1 as L1
    from quintain.threats.l2 import L2 as L2
    from quintain.threats.light import ProjectedLight as ProjectedLight
    from quintain.threats.linf import Linf as Linf
    from quintain.threats.mask import Mask as Mask
    from quintain.threats.negative import Negative as Negative
    from quintain.threats.patch import Patch as Patch
    from quintain.threats.spatial import Spatial as Spatial

EXPORTS: dict[str, str] = {
    "Color": "quintain.threats.color",
    "Compose": "quintain.threats.compose",
    "ExampleRNG": "quintain.threats.rng",
    "L0": "quintain.threats.l0",
    "L1": "quintain.threats.l1",
    "L2": "quintain.threats.l2",
    "Linf": "quintain.threats.linf",
    "Mask": "quintain.threats.mask",
    "Negative": "quintain.threats.negative",
    "ParametricThreat": "quintain.threats.parametric",
    "Patch": "quintain.threats.patch",
    "ProjectedLight": "quintain.threats.light",
    "Spatial": "quintain.threats.spatial",
    "Threat": "quintain.threats.threat",
    "check_in_box": "quintain.threats.threat",
    "contains": "quintain.threats.threat",
    "parse": "quintain.threats.specs",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "threat",
        "color",
        "quintain.threats.color:Color",
        "brightness, contrast and hue change (color:brightness=0.2,contrast=0.3,hue=0.1)",
        guarantee=(
            "no change is exact, bit for bit; every change stays in the data box; the image follows from "
            "the parameters alone"
        ),
        facts=(
            ("example", "color:brightness=0.2,contrast=0.3"),
            ("parametric", "yes"),
            ("options", "brightness=number contrast=number hue=number"),
        ),
    ),
    Entry(
        "threat",
        "compose",
        "quintain.threats.compose:Compose",
        (
            "several of the changes of images, in the order given "
            "(compose:color:brightness=0.2+patch:area=5%)"
        ),
        guarantee=(
            "no change is exact, bit for bit; every change stays in the data box; the image follows from "
            "the parameters alone"
        ),
        facts=(
            ("example", "compose:color:brightness=0.2+patch:area=20%,position=0.5x0.5"),
            ("parametric", "yes"),
            ("joins", "yes"),
        ),
    ),
    Entry(
        "threat",
        "l0",
        "quintain.threats.l0:L0",
        "at most so many pixels change, each to any color (l0:5)",
        guarantee="projection is the nearest allowed point; sizes are counts",
        facts=(
            ("example", "l0:5"),
            ("whole_sizes", "yes"),
        ),
    ),
    Entry(
        "threat",
        "l1",
        "quintain.threats.l1:L1",
        "the changes of all pixels add up to at most eps (l1:12)",
        guarantee=(
            "projection is the nearest point of ball and box, rounded inwards; sizes are exact in float64"
        ),
        facts=(
            ("example", "l1:12"),
        ),
    ),
    Entry(
        "threat",
        "l2",
        "quintain.threats.l2:L2",
        "the change's Euclidean length is at most eps (l2:0.5)",
        guarantee=(
            "projection is the nearest point of ball and box, rounded inwards; sizes are exact in float64"
        ),
        facts=(
            ("example", "l2:0.5"),
        ),
    ),
    Entry(
        "threat",
        "light",
        "quintain.threats.light:ProjectedLight",
        (
            "a phantom: light is thrown onto the scene and can only add (light:0.3, light:0.3,form=albedo)"
        ),
        guarantee=(
            "no change is exact, bit for bit; every change stays in the data box; the image follows from "
            "the parameters alone"
        ),
        facts=(
            ("example", "light:0.3"),
            ("parametric", "yes"),
            ("options", "gain=bare-number form=additive|albedo"),
        ),
    ),
    Entry(
        "threat",
        "linf",
        "quintain.threats.linf:Linf",
        "every pixel may move by at most eps (linf:8/255)",
        guarantee="projection is the nearest allowed point, rounded inwards; sizes are exact in float64",
        facts=(
            ("example", "linf:8/255"),
            ("usual", "linf:4/255"),
        ),
    ),
    Entry(
        "threat",
        "mask",
        "quintain.threats.mask:Mask",
        (
            "only the pixels of a shape move, by at most eps (mask:eyeglasses:0.5, mask:sticker.png:0.3)"
        ),
        guarantee=(
            "projection is the nearest allowed point, rounded inwards; sizes are exact in float64, nothing "
            "off the shape moves"
        ),
        facts=(
            ("example", "mask:eyeglasses:0.5"),
            ("images_only", "yes"),
            ("options", "shape=border|disc|eyeglasses|FILE"),
        ),
    ),
    Entry(
        "threat",
        "negative",
        "quintain.threats.negative:Negative",
        "the image, or its negative (negative)",
        guarantee=(
            "no change is exact, bit for bit; every change stays in the data box; the image follows from "
            "the parameters alone"
        ),
        facts=(
            ("example", "negative"),
            ("parametric", "yes"),
            ("has_size", "no"),
        ),
    ),
    Entry(
        "threat",
        "patch",
        "quintain.threats.patch:Patch",
        (
            "a sticker of any colors on a fraction of the image (patch:area=5%, "
            "patch:area=5%,position=0.5x0.5)"
        ),
        guarantee=(
            "no change is exact, bit for bit; every change stays in the data box; the image follows from "
            "the parameters alone"
        ),
        facts=(
            ("example", "patch:area=20%,position=0.5x0.5"),
            ("parametric", "yes"),
            ("options", "area=bare-number position=number-x-number shape=border|disc|eyeglasses|FILE"),
        ),
    ),
    Entry(
        "threat",
        "spatial",
        "quintain.threats.spatial:Spatial",
        (
            "the image is rotated, shifted, scaled or distorted (spatial:rotate=15,shift=3, "
            "spatial:flow=1.5)"
        ),
        guarantee=(
            "no change is exact, bit for bit; every change stays in the data box; the image follows from "
            "the parameters alone"
        ),
        facts=(
            ("example", "spatial:rotate=15,shift=1"),
            ("parametric", "yes"),
            ("options", "rotate=number shift=number scale=number flow=number fill=black|border"),
        ),
    ),
)
