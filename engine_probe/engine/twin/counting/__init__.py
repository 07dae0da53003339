"""A faster scheduler for twins: requests of which a step changes nothing but counters are counted."""
