"""Many fits: each described by plain JSON, worked on by some process, and answered by a run directory."""
