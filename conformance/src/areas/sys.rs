//! /sys: what a meter tells of itself.

pub mod members;
pub mod query;
pub mod resources;
pub mod status;
