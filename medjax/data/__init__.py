"""Load, check and split images on the host: NumPy and Pillow, never JAX."""
