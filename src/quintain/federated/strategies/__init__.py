"""Strategies of federated training: how sites train, what is averaged, and what the average becomes."""
