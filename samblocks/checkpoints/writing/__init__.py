"""A file tensor by tensor, put in its place when it is whole."""
