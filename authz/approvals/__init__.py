"""A human's word on one action: what it is bound to, what may become of it, and who may give it. Pure."""
