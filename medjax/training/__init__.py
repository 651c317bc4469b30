"""Training on the device: pure functions from states and batches to states."""
