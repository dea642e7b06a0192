"""Labels of people: verdicts, merging, agreement, prospect CSV and merged tables."""
