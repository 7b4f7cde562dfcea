"""What people take away: keypoints in the files of other programs, an annotated video, a page.

Contract: everything here starts from `keypoints.Found`, one person's keypoints in one video, and
knows nothing of networks or of how they were found.
"""
