"""The registered threats."""

from quintain.core.registry import Entry

PARAMETRIC = (
    "no change is exact, bit for bit; every change stays in the data box; the image follows from the "
    "parameters alone"
)

CATALOGUE = (
    Entry(
        "threat",
        "linf",
        "quintain.threats.linf:Linf",
        "every pixel may move by at most eps (linf:8/255)",
        guarantee="projection is the nearest allowed point, rounded inwards; sizes are exact in float64",
        facts=(("kind", "ball"), ("example", "linf:8/255"), ("usual", "linf:4/255")),
    ),
    Entry(
        "threat",
        "l2",
        "quintain.threats.l2:L2",
        "the change's Euclidean length is at most eps (l2:0.5)",
        guarantee=(
            "projection is the nearest point of ball and box, rounded inwards; sizes are exact in float64"
        ),
        facts=(("kind", "ball"), ("example", "l2:0.5")),
    ),
    Entry(
        "threat",
        "l1",
        "quintain.threats.l1:L1",
        "the changes of all pixels add up to at most eps (l1:12)",
        guarantee=(
            "projection is the nearest point of ball and box, rounded inwards; sizes are exact in float64"
        ),
        facts=(("kind", "ball"), ("example", "l1:12")),
    ),
    Entry(
        "threat",
        "l0",
        "quintain.threats.l0:L0",
        "at most so many pixels change, each to any color (l0:5)",
        guarantee="projection is the nearest allowed point; sizes are counts",
        facts=(("kind", "ball"), ("example", "l0:5"), ("sizes", "whole")),
    ),
    Entry(
        "threat",
        "mask",
        "quintain.threats.mask:Mask",
        "only the pixels of a shape move, by at most eps (mask:eyeglasses:0.5, mask:sticker.png:0.3)",
        guarantee=(
            "projection is the nearest allowed point, rounded inwards; sizes are exact in float64, "
            "nothing off the shape moves"
        ),
        facts=(("kind", "ball"), ("example", "mask:eyeglasses:0.5"), ("inputs", "images")),
    ),
    Entry(
        "threat",
        "patch",
        "quintain.threats.patch:Patch",
        "a sticker on a share of the image, with any colors (patch:area=5%, patch:area=5%,position=0.5x0.5)",
        guarantee=PARAMETRIC,
        facts=(("kind", "parametric"), ("example", "patch:area=20%,position=0.5x0.5")),
    ),
    Entry(
        "threat",
        "light",
        "quintain.threats.light:ProjectedLight",
        "a phantom: light is thrown onto the scene and can only add (light:0.3, light:0.3,form=albedo)",
        guarantee=PARAMETRIC,
        facts=(("kind", "parametric"), ("example", "light:0.3")),
    ),
    Entry(
        "threat",
        "spatial",
        "quintain.threats.spatial:Spatial",
        "the image is turned, shifted, magnified or bent (spatial:rotate=15,shift=3, spatial:flow=1.5)",
        guarantee=PARAMETRIC,
        facts=(("kind", "parametric"), ("example", "spatial:rotate=15,shift=1")),
    ),
    Entry(
        "threat",
        "color",
        "quintain.threats.color:Color",
        "brightness, contrast and hue change (color:brightness=0.2,contrast=0.3,hue=0.1)",
        guarantee=PARAMETRIC,
        facts=(("kind", "parametric"), ("example", "color:brightness=0.2,contrast=0.3")),
    ),
    Entry(
        "threat",
        "negative",
        "quintain.threats.negative:Negative",
        "the image, or its negative (negative)",
        guarantee=PARAMETRIC,
        facts=(("kind", "parametric"), ("example", "negative"), ("size", "none")),
    ),
    Entry(
        "threat",
        "compose",
        "quintain.threats.compose:Compose",
        "several of the changes of images, in the order given (compose:color:brightness=0.2+patch:area=5%)",
        guarantee=PARAMETRIC,
        facts=(
            ("kind", "parametric"),
            ("example", "compose:color:brightness=0.2+patch:area=20%,position=0.5x0.5"),
        ),
    ),
)
