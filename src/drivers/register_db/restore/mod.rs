//! Restoring one staged backup: a plan that is fixed when everything has been checked, and a run that applies it youngest
//! first, one batch after the other, each in the caller's transaction.
//!
//! Per register, the chunk owns one stretch of time, from just after the neighbour of its oldest applied sample up to its
//! youngest; what is there becomes what the file says. A sample whose older neighbour is not known yet keeps the increment
//! it had, or gets 0: so there is no moment at which a cut leaves a spike.

mod begin;
mod plan;
mod rows;
mod run;
mod window;

pub use plan::{Checking, Column, RestoreArgs, RestorePlan, plan_restore};
pub(super) use run::Run;
