"""Results compared with something else: another result, published figures, prices, scores."""
