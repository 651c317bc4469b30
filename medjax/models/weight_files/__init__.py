"""Files of weights, which may be a stranger's, to float32 arrays by name. Nothing in them is run, imported or extracted."""
