//! Operations: what outlives its request. A table of tokens, a journal that survives restarts, the thread that
//! works off database operations, and threads for all others. It knows nothing of HTTP; drivers do the work, it decides when.

pub mod journal;
pub mod staging;
pub mod status;
pub mod store;
pub mod table;
mod tail;
pub mod threads;
pub mod token;
mod worker;

pub use journal::{LedgerLine, Who};
pub use status::{Fault, Outcome, Status};
pub use store::{Begin, BeginError, Cancelled, Store};
pub use table::{CancelError, Op, Table};
pub use threads::{Launch, Work};
pub use token::Token;
