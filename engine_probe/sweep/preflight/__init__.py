"""What is told before a sweep starts: its points, how long they take, and whether memory holds them."""
