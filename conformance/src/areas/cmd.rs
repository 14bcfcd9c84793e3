//! /cmd: one area or more for each command.

pub mod cancel;
pub mod clear;
