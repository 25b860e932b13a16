"""Thin wrappers, each over one facility of the Linux kernel."""
