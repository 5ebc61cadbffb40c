"""HTTP for annotation tools and people: translates, keeps no state."""
