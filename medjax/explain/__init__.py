"""Which parts of an image move the answer of a network."""
