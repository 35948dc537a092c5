"""A study under Ray Tune: training runs as Tune trials, refinement as Ray tasks."""
