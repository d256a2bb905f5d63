"""One command per file, `python -m utils.NAME --help`; the packages hold what they call."""
