"""What is simulated: curves of known shape, their noise, and sweeps over them."""
