"""Ours beside a peer, in one process, in turn: ``python -m benchmarks`` prints ratios."""
