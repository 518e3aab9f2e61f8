"""Five sites add up their vectors; the server learns the sum and nothing else, though one site drops out."""

import numpy as np

import quintain as q


def main() -> None:
    """One round of secure aggregation."""
    rng = np.random.default_rng(0)
    vectors = {f"hospital-{i}": rng.uniform(-1, 1, 1000) for i in range(5)}
    # hospital-3 takes part in the key exchange, and drops out before it sends its masked vector
    result = q.federated.secure_sum(vectors, dropouts={"hospital-3": "masked"})
    expected = sum(vectors[name] for name in result.survivors)
    assert result.exact
    print(
        f"sum of {len(result.survivors)} of 5 sites, exact on a grid; rounding to it moved the sum by up to "
        f"{abs(result.total - expected).max():.1e}"
    )


if __name__ == "__main__":
    main()
