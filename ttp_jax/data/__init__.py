"""Where frames and labels come from, and how they become what networks see."""
