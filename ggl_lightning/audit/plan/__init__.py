"""What an audit consists of: its cases, what goes into each, and their keys."""
