"""What the scripts share, and commands: ``python -m utils.NAME --help``."""
