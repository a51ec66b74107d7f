"""Audio as samples: files, resampling, the timeline of a recorded conversation."""
