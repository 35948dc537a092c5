"""What to run, and running it: study files, plans, artifacts, trials under Ray Tune."""
