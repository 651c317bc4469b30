"""The built-in synthetic data set: no patients, no download."""
