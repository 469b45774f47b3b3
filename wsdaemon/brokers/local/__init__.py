"""The part of a broker that serves the members of this process, wherever the order of rooms is kept: `members` has the whole of it."""
