"""The types of column that a mixed-type model knows, and the distribution of one column."""
