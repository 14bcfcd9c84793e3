//! meterd, the command service of a Linux energy meter, as a library for its binary, tests and fuzz targets.
//!
//! The map of the house, in the order a request walks through it:
//! [`gate`] owns the public sockets and lets only whole, checked requests through; [`http`] hands them to a pool of
//! workers; [`api`] turns bytes into commands with the help of [`auth`]; [`ops`] keeps long operations, their tokens
//! and their journal; [`drivers`] do the work; [`platform`] is the closed list of what touches the machine itself;
//! [`sys`] holds every unsafe block. [`config`] and [`sys`] may be used by all; every other import points down this
//! list. [`service`] puts the parts together, [`cli`] and [`logger`] serve the binary.

pub mod gate;
pub mod http;
pub mod api;
pub mod auth;
pub mod ops;
pub mod drivers;
pub mod platform;
pub mod config;
pub mod sys;

pub mod cli;
pub mod logger;
pub mod service;
