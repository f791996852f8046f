"""What a curve says: families, one fit, trends over days, curves together."""
