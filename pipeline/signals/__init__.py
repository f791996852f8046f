"""Signals over time: clocks, resampling, scaling, averages around events, tiles."""
