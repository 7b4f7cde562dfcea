"""What networks learn from: labelled heatmaps, and tasks that need no label (paper section 3)."""
