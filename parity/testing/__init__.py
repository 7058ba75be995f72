"""For other projects: compare any two callables, keep goldens, a fixture for pytest."""
