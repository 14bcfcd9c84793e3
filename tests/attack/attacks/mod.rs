//! The attacks, by what they try to use up.

mod churn;
mod flood;
mod heads;
mod logins;
mod operations;
mod slow;
mod tool;
mod uploads;

use crate::wire::Front;

/// One way to do harm for as long as [`Front::lasts`].
pub struct Attack {
    pub name: &'static str,
    pub run: fn(&Front),
}

const fn attack(name: &'static str, run: fn(&Front)) -> Attack {
    Attack { name, run }
}

/// All of them; what is harmless to a bare tiny_http is there too, since it may not be so here.
pub const ALL: &[Attack] = &[
    attack("1000 idle connections from 20 addresses", slow::idle),
    attack("200 half-closed connections", slow::half_closed),
    attack("heads a byte at a time, 500 connections", slow::heads),
    attack("bodies a byte at a time, 500 connections", slow::bodies),
    attack("answers read a byte at a time", slow::readers),
    attack("answers that nobody reads, backups too", slow::deaf),
    attack("a slow connection from each of 1000 addresses", slow::everywhere),
    attack("slowhttptest: slow headers", tool::headers),
    attack("slowhttptest: slow bodies", tool::bodies),
    attack("slowhttptest: slow reading", tool::reading),
    attack("slowhttptest: ranges", tool::ranges),
    attack("a head of 100 MB in one line, and one of a million fields", heads::endless),
    attack("lengths of 2000 to 2^64-1 without a body", heads::lengths),
    attack("malformed heads and bodies", heads::malformed),
    attack("pipelined requests, answers never read", flood::pipelined),
    attack("every place taken by answers that nobody reads", flood::unread),
    attack("100 clients with kept connections", flood::kept),
    attack("every buffer full", flood::full),
    attack("connections opened and closed", churn::closing),
    attack("connections reset, half of them after a request", churn::resets),
    attack("HTTP/2.0 and a close", churn::versions),
    attack("more connections than descriptors", churn::descriptors),
    attack("wrong passwords from 5000 addresses", logins::guesses),
    attack("forged tokens and unknown operations", logins::tokens),
    attack("uploads without a token", uploads::without_token),
    attack("uploads of garbage with a token", uploads::garbage),
    attack("uploads that unpack to very much", uploads::bombs),
    attack("uploads with a token that crawl", uploads::crawling),
    attack("operations without end, as many as are taken", operations::endless),
    attack("database commands without end", operations::database),
    attack("every place taken by backups that wait for their turn", operations::queued),
    attack("many operations polled at once", operations::polled),
];
