"""The storm: parts of the marketplace are killed, frozen and cut off while customers check out."""
