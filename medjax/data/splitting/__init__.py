"""Which images belong together, and which part or fold they are in."""
