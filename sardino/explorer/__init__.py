"""The explorer: choose a place, click a patch, see where it attends and which tokens are alike."""
