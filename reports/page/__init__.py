"""The page: one study in reading order, as HTML and as Markdown."""
