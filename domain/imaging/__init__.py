"""What adequate imaging is."""
