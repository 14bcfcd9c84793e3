//! HomePlug AV bridges: giving the network of the meter's bridge and of remote ones a new password.
//!
//! `set_password` is the course. It asks the bridge (`qualcomm`, the part that depends on its chip) over a `link` that
//! has one request in flight; `frame` has the bytes, `keys` what is derived from passwords, `target` whom a command
//! names, `report` what became of them.

mod set_password;
mod qualcomm;
mod link;
pub mod frame;
mod keys;
mod target;
mod report;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use keys::Password;
pub use set_password::{Failure, set_password};
pub use target::{MAX_TARGETS, Mac, SetPassword, Target};
