//! meterd, the command service of a Linux energy meter, as a library for its binary, tests and fuzz targets.
//!
//! The map of the house, in the order a request walks through it:
//! [`gate`] owns the public sockets and lets only whole, checked requests through; [`http`] hands them to a pool of
//! workers; [`api`] turns bytes into commands with the help of [`auth`]; [`ops`] keeps long operations, their tokens
//! and their journal; [`drivers`] do the work; [`platform`] is the closed list of what touches the machine itself;
//! [`sys`] holds every unsafe block. [`config`] and [`sys`] may be used by all; every other import points down this
//! list. [`service`] puts the parts together, [`cli`] and [`logger`] serve the binary.
//!
//! # Two processes
//!
//! What faces the network has no rights, and what has rights hears no network. The first thing that a service does is to
//! fork ([`service::parting`]): the child is the *executor* ([`platform::executor`]), the parent opens what takes rights,
//! gives them all up and becomes the *worker*, in which all of the above happens.
//!
//! | | worker | executor |
//! |---|---|---|
//! | user | `user` of the configuration | whoever started the service, as a rule root |
//! | capabilities | none; without `user` those by which root is master of its files | those of the configured verbs |
//! | programs | none (`execve` is refused, `no_new_privs`) | those of the configuration, as whoever started it |
//! | files | state folder, its sockets' folder; `/etc`, and what the configuration names there, to read | any |
//! | network | the open listeners; outward to anybody | none: its one socket leads to the worker |
//! | system calls | a list ([`sys::seccomp`]) | any |
//! | hears | requests from the network | fifteen kinds of messages of a few bytes |
//!
//! The executor gets neither command lines nor paths: it has the configuration from before the fork. A verb's outcome, its
//! output and open descriptors come back; a compromised worker can still ask for any verb, so it can reboot the meter, set
//! its clock and start the installer on an image of its own. Against the last the installer's own check of signatures
//! stands, which RAUC and SWUpdate have.
//!
//! A kernel that lacks Landlock (before 5.13, or built without) or seccomp filters costs a line in the log and that one
//! fence; user, capabilities and `no_new_privs` are as old as Linux 3.5. If either process ends, so does the other, and
//! init starts the service again.

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
