"""What networks learn from: labelled heatmaps, and the tasks that need no label (paper section 3)."""
