"""Links to an order of rooms that is kept elsewhere: `contract` has their interface."""
