"""Images from any source, on the host: NumPy and Pillow, never JAX."""
