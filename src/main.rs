//! The service's entry: arguments, config, start, signals, orderly stop.

fn main() {}
