//! /auth: logging in and out, tokens, rights.

pub mod form;
pub mod login;
pub mod logout;
pub mod nonces;
pub mod rights;
pub mod tokens;
