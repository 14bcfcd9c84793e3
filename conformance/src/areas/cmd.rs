//! /cmd: one area or more for each command.

pub mod mail;
pub mod remote;
