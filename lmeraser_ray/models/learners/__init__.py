"""What is trained on one shard. A learner turns a shard's records into a constituent, and a
constituent answers queries."""
