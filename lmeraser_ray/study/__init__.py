"""Studies: what systems are worth, measured side by side. Experiments on data, not a service:
nothing here is published."""
