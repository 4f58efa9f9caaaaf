"""README and the pages that show results."""
