"""The marketplace under fire: parts are killed, frozen and cut off while customers check out. What must hold still holds."""
