"""The networks, and how their convolutions are computed."""
