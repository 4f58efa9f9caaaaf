"""The run at the paper's size, one module per idea; `benchmarks/paper_size.py` is its command."""
