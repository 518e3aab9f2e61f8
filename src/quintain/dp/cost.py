"""What the two ways to a norm cost, measured: which one a layer takes depends on its shape alone, so that a run can be repeated."""

BUILT = 1.0
"""Cost of a multiplication in batched products of gradients, in those of a ghost norm (``python -m benchmarks dp.cost`` measures it)."""

READ = 8.0
"""Cost of reading or writing a number that was built, in the same unit."""


def ghost(positions: int, inputs: int, outputs: int) -> bool:
    r"""Whether :math:`\langle AA^\top, GG^\top \rangle` is cheaper than the gradient itself, :math:`G^\top A`, of one example."""
    return positions**2 * (inputs + outputs + READ) < BUILT * positions * inputs * outputs + READ * inputs * outputs
