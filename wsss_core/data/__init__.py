"""Images and their labels: procedural scenes, ordinary folders, and the decoded set both become."""
