"""The costs and earnings of runs and curves. Prices are inputs; break-even is interpolated between two levels."""
