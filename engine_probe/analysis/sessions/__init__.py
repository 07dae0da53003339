"""Sessions of several turns, as of agents: what the prefix cache kept between the turns, and how long they take."""
