"""What people read: figures, the HTML page, and lines of a terminal."""
