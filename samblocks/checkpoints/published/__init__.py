"""The public files: which there are, what their bytes must be, and how they come here."""
