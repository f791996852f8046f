"""Signals over time: clocks, resampling, scaling, averages around events, image tiles."""
