"""The film room itself: what may be done to studies, by whom, in what order."""
