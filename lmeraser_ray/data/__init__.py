"""What comes in: sources of records, their pictures and people, and the canonical layout in which
they are kept."""
