//! The register database: one row of increments per minute, what the commands restore, zero and split do to it, how rows
//! come in and how a backup goes out. In reading order: [`schema`] and [`append`] say what is stored; [`text`] is the
//! backup format; [`restore`], [`rework`] and retention are the long jobs behind [`Job`]; [`pace`] says how fast.
//! It knows no HTTP, no operation tokens and no clock: the time of day is always an argument.

pub mod append;
pub mod backup;
pub mod demo;
mod edge;
mod error;
pub mod ingest;
pub mod look;
mod job;
pub mod pace;
mod packed;
mod reader;
pub mod restore;
mod retention;
pub mod rework;
pub mod schema;
mod stamp;
#[cfg(test)]
mod testing;
pub mod text;
pub mod wal;

pub use error::{DbError, Fault};
pub use job::{Job, Plan, Step};
pub use retention::SETTLED;
pub use stamp::{Range, Stamp, StampError};

/// Refuses a list of register ids that names one twice or one that is not known.
fn known_regs(regs: &[u32], known: impl Iterator<Item = u32>) -> Result<(), DbError> {
    let known: Vec<u32> = known.collect();
    for (i, did) in regs.iter().enumerate() {
        if !known.contains(did) {
            return Err(DbError::Registers(format!("there is no register {did}")));
        }
        if regs[..i].contains(did) {
            return Err(DbError::Registers(format!("register {did} is named twice")));
        }
    }
    Ok(())
}
