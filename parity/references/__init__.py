"""Upstream packages in the terms of the reference page; imported in the workers' processes only, by name."""
