"""What an audit leaves in its run folder, written and read."""
