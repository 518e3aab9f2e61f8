"""Score-based attacks: they use logits alone, no gradients."""
