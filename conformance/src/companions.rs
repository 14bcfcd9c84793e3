//! What stands on the other side of a meter's commands, on an address that the tester names.

pub mod update;
