"""Behind `options`: what a setting is, how its values read, what they mean together, where from."""
