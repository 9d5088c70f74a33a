"""Runs an audit's cases under Lightning's Trainer and scores what was found."""
