"""What a run leaves on disk: its directory and its checkpoints."""
