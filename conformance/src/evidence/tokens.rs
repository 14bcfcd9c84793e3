//! What the tokens of operations owe: a form, and that none can be guessed from another.

use std::collections::BTreeMap;

use super::Evidence;
use crate::lab::operation::token_of;
use crate::transcript::Exchange;
use crate::verdict::Finding;

/// Digits in the same places that two random tokens of 32 do not have in common (one in ten thousand million pairs).
const COMMON: usize = 16;
/// Digits that the beginnings or ends of two random tokens do not have in common.
const PREFIX: usize = 8;

/// Every token of the area is a hexadecimal string of at least 32 digits; capitals are a note.
pub fn form(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let mut capitals = false;
    for (exchange, token) in tokens(ev.all("")?)? {
        let hex = token.bytes().all(|it| it.is_ascii_hexdigit());
        exchange.want(hex && 32 <= token.len(), "a token must be a hexadecimal string of at least 32 digits")?;
        capitals |= token.bytes().any(|it| it.is_ascii_uppercase());
    }
    if capitals { Ok(Finding::Quirk("tokens have capital letters".into())) } else { Ok(Finding::Kept) }
}

/// The tokens of the whole run have nothing in common. The same request may be answered with the same token again.
pub fn unguessable(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let mut first: BTreeMap<String, &Exchange> = BTreeMap::new();
    for (exchange, token) in tokens(ev.everything().iter())? {
        if let Some(before) = first.get(&token) {
            exchange.want(body(before) == body(exchange), "another request was given the same token")?;
            continue;
        }
        for other in first.keys() {
            exchange.want(!alike(other, &token), format!("the token is too much like {other}, which came before"))?;
        }
        first.insert(token, exchange);
    }
    if first.len() < 2 {
        return Err(Finding::NoEvidence("a single token cannot be compared".into()));
    }
    Ok(Finding::Kept)
}

fn tokens<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>) -> Result<Vec<(&'a Exchange, String)>, Finding> {
    let commands = exchanges.into_iter().filter(|it| it.sent.starts_with(b"POST "));
    let res: Vec<_> = commands.filter_map(|it| Some((it, token_of(it)?))).collect();
    if res.is_empty() { Err(Finding::NoEvidence("no command gave a token".into())) } else { Ok(res) }
}

fn body(exchange: &Exchange) -> &[u8] {
    let end = exchange.sent.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or_default();
    &exchange.sent[end..]
}

fn alike(a: &str, b: &str) -> bool {
    let same: Vec<bool> = a.bytes().zip(b.bytes()).map(|(a, b)| a == b).collect();
    let prefix = same.iter().take_while(|it| **it).count();
    let suffix = a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count();
    PREFIX <= prefix || PREFIX <= suffix || COMMON <= same.iter().filter(|it| **it).count()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{broken, exchange, kept, quirk, untested};
    use super::*;
    use crate::transcript::Transcript;

    fn run(tokens: &[(&str, &str)]) -> Transcript {
        let mut res = Transcript::default();
        for (sent, token) in tokens {
            let sent = format!("POST /x HTTP/1.1\r\n\r\n{sent}");
            let body = format!("{{\"token\":\"{token}\"}}");
            res.exchanges.push(exchange("a", "x", 0.0, sent.as_bytes(), 200, &body));
        }
        res
    }

    #[test]
    fn tokens_are_long_and_hexadecimal() {
        kept(form(&Evidence::new(&run(&[("1", "473c31462e62848b5352314dfc608669")]), "a")));
        quirk(form(&Evidence::new(&run(&[("1", "473C31462E62848B5352314DFC608669")]), "a")));
        broken(form(&Evidence::new(&run(&[("1", "473c31462e62848b5352314dfc60866")]), "a")));
        broken(form(&Evidence::new(&run(&[("1", "xy3c31462e62848b5352314dfc608669")]), "a")));
    }

    #[test]
    fn tokens_have_nothing_in_common() {
        let (one, two) = ("473c31462e62848b5352314dfc608669", "9d01e47ab35c60f81726a4b3c9d80e15");
        kept(unguessable(&Evidence::new(&run(&[("1", one), ("2", two), ("1", one)]), "a")));
        broken(unguessable(&Evidence::new(&run(&[("1", one), ("2", one)]), "a")));
        broken(unguessable(&Evidence::new(&run(&[("1", one), ("2", "473c31462e62848b5352314dfc60866a")]), "a")));
        broken(unguessable(&Evidence::new(&run(&[("1", one), ("2", "9d01e47ab35c60f81726a4b3fc608669")]), "a")));
        untested(unguessable(&Evidence::new(&run(&[("1", one)]), "a")));
    }
}
