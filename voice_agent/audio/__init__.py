"""Audio as arrays of samples: files, resampling, the timeline of a recorded call, the words that were played."""
