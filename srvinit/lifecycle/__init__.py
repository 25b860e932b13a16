"""The core: what is wanted against what is there. Knows no kernel, no clock, no log library."""
