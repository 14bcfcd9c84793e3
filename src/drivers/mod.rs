//! The drivers: plain modules of functions that do the work of a command.
//! None of them knows the meter's own HTTP, its bodies or its tokens.

pub mod register_db;
