"""For owners of checkpoints, parameters or data of the original code (Doorenbos et al. 2022, 2024).

Programs use `networks`; `python -m utils.original --help` describes the rest.
"""
