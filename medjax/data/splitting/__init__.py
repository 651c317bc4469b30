"""Groups of images that belong together, and splits that keep them so."""
