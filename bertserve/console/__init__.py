"""A local page over what is served: try it, watch it, judge it, roll it out."""
