"""Figures: one file a family. Each function makes one figure from results, or says what it lacks;
nothing here computes a result."""
