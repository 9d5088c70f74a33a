"""How arguments and configuration files are read, and in which words mistakes in them are told."""
