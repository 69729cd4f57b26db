"""Documents among the records: what each file is by its bytes, what is wrong with it, and what it says."""
