"""Files into volumes, and back."""
