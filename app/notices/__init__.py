"""What customers are told, by which channel, and whether it arrived."""
