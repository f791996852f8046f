"""Fits of curves: families of functions, the fit of one curve, trends over days, curves judged together."""
