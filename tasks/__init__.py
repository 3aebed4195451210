"""What is learned: one file per task, their models and their data."""
