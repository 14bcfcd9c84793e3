//! /cmd: one area or more for each command.

pub mod activate;
pub mod homeplug;
pub mod mail;
pub mod remote;
pub mod wlan;
