"""One fit or one question a module: the only layer that wires data, training, evaluation and report together."""
