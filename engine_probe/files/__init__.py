"""Reading and writing files: what comes from outside is checked first, and what is written is whole or not there."""
