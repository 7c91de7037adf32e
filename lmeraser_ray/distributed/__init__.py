"""The only folder that knows Ray: it carries out what the rest has planned, on one machine or on a
cluster."""
