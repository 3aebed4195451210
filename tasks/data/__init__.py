"""Where samples come from: data that ships with installed packages, the user's files, the hub."""
