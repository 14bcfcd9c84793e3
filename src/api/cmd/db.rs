//! `POST /cmd/db`: the members of its body become a command. Registers and files are looked at further down.

use super::db_body::Members;
use super::{BadMember, bad, typed};
use crate::drivers::register_db::{Range, Stamp};

/// What to do with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Put the rows of a backup back.
    Restore,
    /// Make the rates of a range zero.
    Zero,
    /// Copy positive changes of net registers into their positive-only partners.
    Split,
}

/// A well-formed command.
#[derive(Clone, Debug, PartialEq)]
pub struct DbCommand {
    /// What to do.
    pub action: Action,
    /// Where, in time; both ends belong to it.
    pub range: Range,
    /// On which registers; all if absent.
    pub regs: Option<Vec<u32>>,
    /// Whether the next older chunk will follow.
    pub more_chunks: bool,
}

impl Action {
    /// The word in the request.
    pub fn name(self) -> &'static str {
        match self {
            Action::Restore => "restore",
            Action::Zero => "zero",
            Action::Split => "split",
        }
    }
}

/// Checks members against each other and gives them their types.
pub fn parse(members: &Members) -> Result<DbCommand, BadMember> {
    let choice = "must be \"restore\", \"zero\" or \"split\".";
    let action = match typed::<String>("action", members.action.as_deref(), "a string")?.as_deref() {
        Some("restore") => Action::Restore,
        Some("zero") => Action::Zero,
        Some("split") => Action::Split,
        Some(_) => return bad("action", choice),
        None => return bad("action", format!("missing; it {choice}")),
    };
    let from = stamp("from", members.from.as_deref())?;
    let to = stamp("to", members.to.as_deref())?;
    let range = Range { from, to };
    if !range.is_ordered() {
        return bad("from", "is later than to.");
    }
    let regs = regs(members.regs.as_deref())?;
    let more_chunks = typed::<bool>("more_chunks", members.more_chunks.as_deref(), "true or false")?.unwrap_or(false);
    match (action, members.data) {
        (Action::Restore, None) => return bad("data", "missing; restore needs the backup in base64."),
        (Action::Restore, Some(0)) => return bad("data", "empty."),
        (Action::Restore, Some(_)) | (_, None) => {}
        (_, Some(_)) => return bad("data", format!("only restore takes it, not {}.", action.name())),
    }
    if more_chunks && action != Action::Restore {
        return bad("more_chunks", format!("only restore takes it, not {}.", action.name()));
    }
    Ok(DbCommand { action, range, regs, more_chunks })
}

fn stamp(name: &'static str, text: Option<&[u8]>) -> Result<Option<Stamp>, BadMember> {
    let what = "a string with a Unix timestamp in decimal";
    match typed::<String>(name, text, what)? {
        None => Ok(None),
        Some(text) => match Stamp::parse(&text) {
            Ok(stamp) => Ok(Some(stamp)),
            Err(err) => bad(name, format!("{err}.")),
        },
    }
}

fn regs(text: Option<&[u8]>) -> Result<Option<Vec<u32>>, BadMember> {
    let what = "a list of register ids (whole numbers, not negative)";
    let Some(regs) = typed::<Vec<u32>>("regs", text, what)? else { return Ok(None) };
    if regs.is_empty() {
        return bad("regs", "names no register; leave it out to mean all.");
    }
    for (at, did) in regs.iter().enumerate() {
        if regs[..at].contains(did) {
            return bad("regs", format!("{did} is named twice."));
        }
    }
    Ok(Some(regs))
}

#[cfg(test)]
mod tests {
    use super::super::db_body::scan;
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let members = scan(&mut body.as_bytes(), 1 << 20, &mut |_| Ok(())).unwrap();
        let got = match parse(&members) {
            Ok(it) => format!(
                "{} {:?}..{:?} {:?} {}",
                it.action.name(),
                it.range.from.map(|it| it.to_string()),
                it.range.to.map(|it| it.to_string()),
                it.regs,
                it.more_chunks
            ),
            Err(err) => format!("error: {err}"),
        };
        assert_eq!(got, expect, "{body}");
    }

    #[test]
    fn members_get_their_types() {
        check(
            r#"{"action":"zero","from":"1.5","to":"1677523091.000900435","regs":[3,0]}"#,
            r#"zero Some("1.5")..Some("1677523091.000900435") Some([3, 0]) false"#,
        );
        check(r#"{"action":"restore","data":"aGk=","more_chunks":true}"#, "restore None..None None true");
        check(r#"{"action":"split","data":null,"from":null,"more_chunks":false}"#, "split None..None None false");
    }

    #[test]
    fn bad_members_are_named() {
        check("{}", r#"error: action: missing; it must be "restore", "zero" or "split"."#);
        check(r#"{"action":"x"}"#, r#"error: action: must be "restore", "zero" or "split"."#);
        check(r#"{"action":7}"#, "error: action: must be a string.");
        check(r#"{"action":"zero","from":"2","to":"1"}"#, "error: from: is later than to.");
        check(r#"{"action":"zero","from":2}"#, "error: from: must be a string with a Unix timestamp in decimal.");
        check(r#"{"action":"zero","regs":[]}"#, "error: regs: names no register; leave it out to mean all.");
        check(r#"{"action":"zero","regs":[1,2,1]}"#, "error: regs: 1 is named twice.");
        for regs in ["[-1]", "[1.0]", "[\"1\"]", "7", "[4294967296]"] {
            let body = format!(r#"{{"action":"zero","regs":{regs}}}"#);
            check(&body, "error: regs: must be a list of register ids (whole numbers, not negative).");
        }
        check(r#"{"action":"restore"}"#, "error: data: missing; restore needs the backup in base64.");
        check(r#"{"action":"restore","data":""}"#, "error: data: empty.");
        check(r#"{"action":"zero","data":"aGk="}"#, "error: data: only restore takes it, not zero.");
        check(r#"{"action":"zero","more_chunks":true}"#, "error: more_chunks: only restore takes it, not zero.");
        check(r#"{"action":"zero","more_chunks":1}"#, "error: more_chunks: must be true or false.");
    }

    #[test]
    fn malformed_stamps_are_refused() {
        for stamp in ["", " 1", "-1", "+1", "1e3", "0x1", "1.", ".5", "NaN", "1,5"] {
            let members = Members {
                action: Some(b"\"zero\"".to_vec()),
                to: Some(format!("\"{stamp}\"").into_bytes()),
                ..Members::default()
            };
            let err = parse(&members).unwrap_err();
            assert_eq!(err.name, "to", "{stamp}: {err}");
        }
    }
}
