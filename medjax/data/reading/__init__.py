"""Sources opened: names and bytes, never pixels."""
