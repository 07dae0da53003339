"""What runs and curves cost and earn. Prices are inputs; break-even is interpolated between two levels."""
