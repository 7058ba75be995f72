"""What `parity bench` found, as tables, as a page with charts, and as the README's table and picture."""
