"""Compatibility: what KerasTuner's users expect of a tuner beyond the search itself."""
