"""The benchmarks: each figure is measured side by side with others, in one run (`make bench`)."""
