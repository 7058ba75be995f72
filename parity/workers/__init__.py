"""Processes of the references' environment: started, spoken to, ended. Adapters are reached by name only."""
