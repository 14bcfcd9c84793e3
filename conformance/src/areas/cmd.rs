//! /cmd: what a meter does on command.

pub mod activate;
pub mod cancel;
pub mod clear;
pub mod db;
mod down;
pub mod factory_restore;
pub mod homeplug;
pub mod mail;
pub mod reboot;
pub mod remote;
pub mod set_time;
pub mod update_install;
pub mod update_list;
pub mod wlan;
