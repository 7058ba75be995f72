"""What every case's module must keep on our side, whatever its numbers are; and shapes in docstrings."""
