//! /auth: logging in and out, tokens, rights.

pub mod login;
