"""The protocol every part of the library follows: domains, bijections, distributions and their configs."""
