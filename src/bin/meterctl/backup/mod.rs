//! Backups: reading them from a file or from the meter, cutting them into chunks, and comparing two of them.
//!
//! Nothing here is shared with the service, though it reads the same format: what is restored is verified with this reading,
//! and a mistake that both had in common would hide from it.

pub mod chunks;
pub mod compare;
pub mod format;
pub mod survey;
