"""What is compared and how it is run: cases, filled values, float64 throughout, pictures, training steps."""
