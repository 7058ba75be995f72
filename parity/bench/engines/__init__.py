"""What runs a row's work in a contestant's process, where torch alone is needed for it."""
