"""What a run found: scores, tables, and pictures of what the networks see."""
