//! What a command owes to requests that it must not obey: judges that all commands share.

use super::Evidence;
use crate::verdict::Finding;

/// A request without a login that is worth something: 401 with what a client needs to log in.
pub fn unauthorized(ev: &Evidence<'_>, labels: &[&str]) -> Result<Finding, Finding> {
    for label in labels {
        ev.get(label)?.unauthorized()?;
    }
    Ok(Finding::Kept)
}

/// A user without the right: 401 with what it needs, or 403 with `error`.
pub fn no_right(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let it = ev.get(label)?;
    if it.reply()?.status != 403 {
        return it.unauthorized();
    }
    it.error()?;
    Ok(Finding::Quirk("a missing right is a 403, where the documents know 401 only".into()))
}

/// A method that the command does not have: any refusal, 405 as HTTP has it.
pub fn wrong_methods(ev: &Evidence<'_>, labels: &[&str]) -> Result<Finding, Finding> {
    let mut note = None;
    for label in labels {
        let exchange = ev.get(label)?;
        let reply = exchange.reply()?;
        match reply.status {
            405 => exchange.want(reply.header("Allow").is_some(), "a 405 names the methods in Allow")?,
            200 => {
                exchange.error()?;
                note = Some("a wrong method is answered with 200 and `error`".to_string());
            }
            400 | 401 | 403 | 404 | 501 => note = Some(format!("a wrong method is answered with {}", reply.status)),
            _ => return Err(exchange.broken("only POST is there, so a refusal is owed")),
        }
    }
    Ok(note.map_or(Finding::Kept, Finding::Quirk))
}

/// Each of these is refused with an `error`.
pub fn refused(ev: &Evidence<'_>, labels: &[&str]) -> Result<Finding, Finding> {
    let mut res = Finding::Kept;
    for label in labels {
        if let note @ Finding::Quirk(_) = ev.get(label)?.refused()? {
            res = note;
        }
    }
    Ok(res)
}

/// Everything whose label begins so is refused with an `error`.
pub fn each(ev: &Evidence<'_>, start: &str) -> Result<Finding, Finding> {
    let labels: Vec<_> = ev.all(start)?.into_iter().map(|it| it.label.as_str()).collect();
    refused(ev, &labels)
}

/// Each of these is refused with an `error` that names the member at fault.
pub fn names(ev: &Evidence<'_>, members: &[(&str, &str)]) -> Result<Finding, Finding> {
    for (label, member) in members {
        let exchange = ev.get(label)?;
        exchange.want(exchange.error()?.contains(member), format!("the error should name {member}"))?;
    }
    Ok(Finding::Kept)
}

/// An unknown member: refused by name, or ignored; either is a reading.
pub fn unknown_member(ev: &Evidence<'_>, label: &str, member: &str) -> Result<Finding, Finding> {
    let exchange = ev.get(label)?;
    if exchange.object()?.contains_key("error") {
        exchange.want(exchange.error()?.contains(member), format!("the error should name {member}"))?;
        return Ok(Finding::Kept);
    }
    exchange.success()?;
    Ok(Finding::Quirk(format!("the unknown member {member} is ignored")))
}

/// An operation that must fail: at once with `error` in the reply, or later with one of these tags. A meter that says so
/// in the reply and gives a token besides has the tag in its status too.
pub fn fails(ev: &Evidence<'_>, label: &str, tags: &[&str]) -> Result<Finding, Finding> {
    let command = ev.get(label)?;
    let body = command.object()?;
    let at_once = body.contains_key("error");
    if at_once {
        command.refused()?;
    }
    if body.contains_key("token") {
        return super::status::failed_with(ev, label, tags);
    }
    if at_once {
        return Ok(Finding::Quirk(format!("refused in words, without the tag {}", tags.join(" or "))));
    }
    Err(command.broken(format!("it must fail, with {}", tags.join(" or "))))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{broken, kept, quirk, transcript};
    use super::*;

    #[test]
    fn a_wrong_method_is_refused_in_some_way() {
        let check = |status, body| {
            let run = transcript("a", [("get", status, body)]);
            wrong_methods(&Evidence::new(&run, "a"), &["get"])
        };
        quirk(check(404, "{}"));
        quirk(check(200, r#"{"error":"POST only"}"#));
        broken(check(200, r#"{"status":"OK"}"#));
        broken(check(500, "{}"));
        broken(check(405, "{}"));
    }

    #[test]
    fn a_failure_is_told_at_once_or_by_its_tag() {
        let check = |body, end: &str| {
            let run = transcript("a", [("x", 200, body), ("x/poll/1", 200, end)]);
            fails(&Evidence::new(&run, "a"), "x", &["BADHDR"])
        };
        let (good, bad) = (r#"{"result":{"done":true,"error":"BADHDR"}}"#, r#"{"result":{"done":true}}"#);
        kept(check(r#"{"status":"OK","token":"t"}"#, good));
        kept(check(r#"{"error":"no header","token":"t"}"#, good));
        broken(check(r#"{"status":"OK","token":"t"}"#, bad));
        quirk(check(r#"{"error":"no header"}"#, good));
        broken(check(r#"{"status":"OK"}"#, good));
    }

    #[test]
    fn an_error_names_the_member() {
        let run = transcript("a", [("x", 200, r#"{"error":"from: not a number"}"#), ("y", 200, r#"{"status":"OK"}"#)]);
        let ev = Evidence::new(&run, "a");
        kept(names(&ev, &[("x", "from")]));
        broken(names(&ev, &[("x", "to:")]));
        broken(refused(&ev, &["x", "y"]));
        quirk(unknown_member(&ev, "y", "form"));
    }
}
