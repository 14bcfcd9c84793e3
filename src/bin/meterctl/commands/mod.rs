//! The commands, one function each: they fetch what is missing, ask, send, wait and say how it ended.

pub mod account;
pub mod database;
pub mod device;
pub mod outward;
pub mod power;
pub mod readback;
pub mod restore;
pub mod wireless;
