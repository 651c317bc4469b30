"""From a source to names and bytes; pixels come later."""
