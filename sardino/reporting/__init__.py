"""From records of runs to tables, figures and claims; redrawn without torch."""
