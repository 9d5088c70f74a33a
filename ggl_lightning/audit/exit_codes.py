"""How an audit's process ends; 2 is a user's mistake, as everywhere."""

FAILED_CASES = 3
"""The audit is over, but some of its cases could not be completed."""
