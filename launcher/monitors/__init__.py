"""What watches a training: one file each."""
