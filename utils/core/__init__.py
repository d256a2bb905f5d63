"""What every command needs: configuration, run directories, checkpoints, errors, files."""
