"""What changes a training: one file each."""
