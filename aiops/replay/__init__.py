"""A recording, played through today's rules: what this program would have said, at full speed."""
