"""The masks of Flower's SecAgg+ depend on 28 bits: about a minute of one core shows an update.

Flower derives the key that two sites share well, writes it in base64, and folds it to a 32-bit seed of
NumPy's Mersenne Twister by xor. The letters of base64 have no eighth bit, so 28 bits are left. Here one of
three sites sides with the server; what is left of the other's vector is one mask. Without ``--all`` one of 64
parts of the seeds is searched, the one with the right seed in it, so that this ends in seconds.

Run it where Flower 1.42 is: ``pip install 'quintain[fed]'``.
"""

import sys
import time

import numpy as np
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import dequantize, quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.supercore.primitives.asymmetric import generate_key_pairs

from quintain.federated.secagg.primitives import keystream

# Flower's own defaults: clip, grid, and modulus
CLIP, TARGET, MODULUS = 8.0, 2**22, 2**32
SHAPES = [(1,), (1000,)]
SEEDS, PARTS = 2**28, 64
CHUNK = 2**12


def masked_by_flower(update: np.ndarray) -> tuple[list[np.ndarray], bytes]:
    """What is left of a site's masked vector, as Flower's client makes it, without the masks that are known.

    The server rebuilds the site's own mask at the end of a round, and the site that sides with it tells the
    other pair's. What stays is the mask that it shares with the honest one.
    """
    (own, _), (_, peer) = generate_key_pairs(), generate_key_pairs()
    key = generate_shared_key(own, peer)
    vector = factor_combine(TARGET, quantize([update], CLIP, TARGET))
    return parameters_mod(parameters_addition(vector, pseudo_rand_gen(key, MODULUS, SHAPES)), MODULUS), key


def fold_key(key: bytes) -> int:
    """The seed that Flower makes of a key."""
    return int(np.bitwise_xor.reduce(np.frombuffer(key, "<u4")))


def seeds_of(part: int) -> np.ndarray:
    """The seeds of one of the parts: four bytes of seven bits."""
    bits = np.arange(part * (SEEDS // PARTS), (part + 1) * (SEEDS // PARTS), dtype=np.uint32)
    return sum((bits >> np.uint32(7 * k) & np.uint32(127)) << np.uint32(8 * k) for k in range(4))


def first_outputs(seeds: np.ndarray) -> np.ndarray:
    """The first number of each seed's Mersenne Twister (words 0, 1 and 397 of its state)."""
    word, shifted, second = seeds.copy(), np.empty_like(seeds), seeds
    for i in range(1, 398):
        np.right_shift(word, np.uint32(30), out=shifted)
        word ^= shifted
        word *= np.uint32(1812433253)
        word += np.uint32(i)
        if i == 1:
            second = word.copy()
    joined = (seeds & np.uint32(0x80000000)) | (second & np.uint32(0x7FFFFFFF))
    word ^= (joined >> np.uint32(1)) ^ (np.uint32(0x9908B0DF) * (joined & np.uint32(1)))
    word ^= word >> np.uint32(11)
    word ^= word << np.uint32(7) & np.uint32(0x9D2C5680)
    word ^= word << np.uint32(15) & np.uint32(0xEFC60000)
    return word ^ (word >> np.uint32(18))


def unmask(left: list[np.ndarray], parts: range) -> np.ndarray | None:
    """The update behind one unknown mask, or None if its seed is in none of these parts.

    An entry is at most 2^22: one seed in 1024 fits the first one, and the right one fits all.
    """
    first = np.uint32(left[0][0])
    for part in parts:
        for seeds in np.split(seeds_of(part), SEEDS // PARTS // CHUNK):
            for seed in seeds[first - first_outputs(seeds) <= TARGET]:
                mask = pseudo_rand_gen(int(seed).to_bytes(4, "little"), MODULUS, SHAPES)
                vector = parameters_mod(parameters_subtraction(left, mask), MODULUS)
                if all((array <= TARGET).all() for array in vector):
                    return dequantize(vector[1:], CLIP, TARGET)[0]
    return None


def main(everything: bool) -> None:
    """Mask an update as Flower does, take the mask off, and show what the same trick does here."""
    update = np.random.default_rng().normal(0, 0.1, SHAPES[1][0])
    left, key = masked_by_flower(update)
    assert fold_key(key) & 0x80808080 == 0
    right = sum((fold_key(key) >> 8 * k & 127) << 7 * k for k in range(4)) // (SEEDS // PARTS)
    started = time.process_time()
    found = unmask(left, range(PARTS) if everything else range(right, right + 1))
    seconds = time.process_time() - started
    assert found is not None
    error = np.abs(found - update).max()
    assert error < 2 * CLIP / TARGET * 2
    what = "a search of all" if everything else f"a search of 1 of {PARTS} parts of the"
    print(f"Flower's SecAgg+: {what} 2^28 seeds ends after {seconds:.0f} s of a core, error {error:.0e}")

    # two keys with their first two words exchanged: one mask for Flower, two streams here
    other = key[4:8] + key[:4] + key[8:]
    masks = [pseudo_rand_gen(each, MODULUS, SHAPES)[1] for each in (key, other)]
    streams = [keystream(each[:32]).update(bytes(4000)) for each in (key, other)]
    assert np.array_equal(*masks)
    assert streams[0] != streams[1]
    print(
        "Two keys have one mask in Flower's SecAgg+; here it is AES-256 in counter mode under the whole key"
    )


if __name__ == "__main__":
    main("--all" in sys.argv[1:])
