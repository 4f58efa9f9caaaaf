"""The study: profiles, the plan of runs, and what each run does."""
