"""How constituents answer together."""
