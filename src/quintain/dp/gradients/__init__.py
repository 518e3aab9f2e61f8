"""The gradients of single examples, caught while a model trains: their forms, their cost, what stands behind them."""
