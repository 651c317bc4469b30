"""Networks from images to logits; no loss, no optimizer."""
