"""The far side of benchmarks: what upstream does to load a file."""
