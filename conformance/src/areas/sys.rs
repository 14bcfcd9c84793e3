//! /sys: what a meter tells of itself.

pub mod query;
pub mod resources;
pub mod status;
