"""The science: arrays in, arrays out. It uses ONE, the atlas, decoding and figures, but no database."""
