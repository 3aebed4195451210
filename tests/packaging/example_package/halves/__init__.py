"""Which half of a row of numbers has the bigger sum?"""
