"""Benchmarks of federated training and of its sums."""
