"""How well a model predicts a text: what is asked, the windows of it, and their scores from a started engine."""
