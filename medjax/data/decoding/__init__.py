"""From the bytes of images to uint8 arrays."""
