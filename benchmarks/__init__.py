"""How fast, against whom: each row is one thing that this does and one peer that does the like, side by side."""
