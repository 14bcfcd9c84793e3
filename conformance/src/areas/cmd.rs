//! /cmd: one area or more for each command.

pub mod cancel;
pub mod clear;
pub mod db;
mod down;
pub mod factory_restore;
pub mod reboot;
pub mod set_time;
pub mod update_install;
pub mod update_list;
