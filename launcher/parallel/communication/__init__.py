"""What the ranks of data parallel send each other: one file a way."""
