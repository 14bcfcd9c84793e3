//! Judges a meter by its WebAPI. In reading order: `catalogue` lists the areas, each with its traffic and its rules;
//! `lab` sends and records; `danger` keeps it from sending what was not allowed; `evidence` is what rules read;
//! `verdict` is what they say; `runner` plays and judges; `report` prints;
//! `coverage` says which rules judge what the documents promise.
//! Nothing here knows how any meter works inside.

pub mod areas;
pub mod catalogue;
pub mod coverage;
pub mod companions;
pub mod danger;
pub mod evidence;
pub mod http;
pub mod lab;
pub mod options;
pub mod refusals;
pub mod report;
pub mod runner;
pub mod session;
pub mod transcript;
pub mod verdict;
