"""From predictions to numbers that can be trusted."""
