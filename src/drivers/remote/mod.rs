//! Remote devices: trying whether one can be reached, and which registers it has.
//!
//! `address` says where the device is, `probe` is the course. A `master` asks for Modbus registers over a `line`,
//! framed by `tcp` or `rtu` around the messages of `frame`; `sunspec` walks through a device that describes itself,
//! with the `models` and the `value`s in them; `map` reads one that the configuration describes, `meter` another meter.
//! `report` is what grows meanwhile, `fault` why it failed.

mod probe;
pub mod address;
mod line;
mod master;
pub mod frame;
pub mod tcp;
pub mod rtu;
pub mod sunspec;
mod models;
mod value;
mod map;
mod meter;
mod report;
mod fault;
#[cfg(test)]
mod tests;

pub use address::{BadTarget, Target};
pub use fault::Fault;
pub use master::Registers;
pub use probe::{Failure, test};
pub use report::{Reg, Report};
