"""Reports that people read: sections and charts as data, and a renderer for each medium."""
