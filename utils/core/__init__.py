"""What every command needs: configuration, run directories, checkpoints, files."""
