"""Test-time personalization: one person's inner loop, and many people on many devices."""
