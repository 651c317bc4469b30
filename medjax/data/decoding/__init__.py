"""Bytes of images to uint8 arrays."""
