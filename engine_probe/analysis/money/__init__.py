"""What runs and curves cost and earn under a price list."""
