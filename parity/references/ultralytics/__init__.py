"""Ultralytics' SAM modules."""
