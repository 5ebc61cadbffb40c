"""What to label next; drives campaigns."""
