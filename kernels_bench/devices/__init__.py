"""The devices: finding them, their health, their specifications and the ceilings measured on them."""
