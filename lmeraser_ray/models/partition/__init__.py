"""How records are divided into shards."""
