"""Values and rules of the exchange: no I/O, no clock, no gRPC; `now` is passed in."""
