"""Results held against something: another result, published figures, prices, scores."""
