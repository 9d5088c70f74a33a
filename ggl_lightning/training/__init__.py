"""What trainings of a prior and of a client model share: checks before them, and how they end."""
