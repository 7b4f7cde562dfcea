"""Where the people of a video are: boxes read or found, made into tracks, cut out as clips."""
