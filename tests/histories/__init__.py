"""Many at once: what clients and queues were answered, checked against a request's life as one who
asks one thing after the other sees it, and a load of requests that overlap."""
