"""HQ-SAM's own package as a reference."""
