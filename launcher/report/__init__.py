"""Pages made of what lies in folders: of a run, and of a sweep."""
