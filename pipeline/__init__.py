"""The science: arrays in, arrays out. Knows ONE, the atlas, decoding and figures, and no database."""
