"""What runs, in which order, on which input: profiles, plan, notebook runner, sweep and command line."""
