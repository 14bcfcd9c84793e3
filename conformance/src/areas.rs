//! The areas, by the part of the API that they try.

mod auth;
mod cmd;
mod http;
mod providers;
mod sys;

use crate::catalogue::Area;

pub use auth::tokens::number;

/// All of them; the catalogue puts them in order.
pub const ALL: &[&Area] = &[
    &auth::login::AREA,
    &auth::form::AREA,
    &auth::tokens::AREA,
    &auth::logout::AREA,
    &auth::rights::AREA,
    &sys::resources::AREA,
    &sys::query::AREA,
    &sys::status::AREA,
    &sys::members::AREA,
    &providers::AREA,
    &cmd::cancel::AREA,
    &cmd::clear::AREA,
    &cmd::clear::WEB_CACHE,
    &http::requests::AREA,
    &http::refusals::AREA,
    &http::replies::AREA,
    &auth::nonces::AREA,
    &cmd::mail::AREA,
    &cmd::mail::sent::AREA,
    &cmd::remote::AREA,
    &cmd::activate::AREA,
    &cmd::wlan::AREA,
    &cmd::homeplug::AREA,
    &cmd::set_time::AREA,
    &cmd::db::AREA,
    &cmd::db::zero::AREA,
    &cmd::db::restore::AREA,
    &cmd::db::file::AREA,
    &cmd::db::split::AREA,
    &cmd::db::status::AREA,
    &cmd::update_list::AREA,
    &cmd::update_install::AREA,
    &cmd::reboot::AREA,
    &cmd::factory_restore::AREA,
];
