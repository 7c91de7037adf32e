"""Erasure requests: from the request to the certificate. Truth is in the request database; Ray
holds nothing."""
