//! `GET /register`: the list of registers as JSON, or everything as a backup file.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::json;

use super::query::Query;
use super::{App, failed, shape};
use crate::drivers::register_db::backup::Backup;
use crate::drivers::register_db::{Range, Stamp, schema};
use crate::http::{Answer, Exchange, Reply};
use crate::ops::store;

/// Characters of a file name that a client may ask for.
const MAX_FILENAME: usize = 100;

/// What a query asks for.
#[derive(Debug, PartialEq)]
enum Form {
    List,
    Backup { range: Range, filename: String },
}

fn parse(query: &mut Query) -> Result<Form, String> {
    // Whatever is asked of virtual registers, there are none, so every answer is the same list.
    match query.take("virtual").as_deref() {
        None | Some("formula" | "value") => {}
        Some(_) => return Err("virtual: must be formula or value.".into()),
    }
    let form = match query.take("format").as_deref() {
        None | Some("json") => Form::List,
        Some("backup") => {
            let mut stamp = |name: &str| {
                let text = query.take(name);
                text.map(|it| Stamp::parse(&it).map_err(|err| format!("{name}: {err}."))).transpose()
            };
            let range = Range { from: stamp("from")?, to: stamp("to")? };
            if !range.is_ordered() {
                return Err("from: is later than to.".into());
            }
            let filename = query.take("filename").unwrap_or_else(|| "backup.txt".into());
            Form::Backup { range, filename: sanitised(&filename) }
        }
        Some(_) => return Err("format: this meter offers json and backup.".into()),
    };
    Ok(form)
}

/// A name that is safe in a header and in any folder.
fn sanitised(name: &str) -> String {
    let keep = |it: char| it.is_ascii_alphanumeric() || "-_.+ ".contains(it);
    let name: String = name.chars().map(|it| if keep(it) { it } else { '_' }).take(MAX_FILENAME).collect();
    let name = name.trim_matches([' ', '.']);
    if name.is_empty() { "backup.txt".into() } else { name.into() }
}

/// Answers the list at once; a backup leaves on a thread of its own, page by page.
pub(super) fn get(app: &Arc<App>, mut query: Query) -> Answer {
    match parse(&mut query) {
        Err(text) => Answer::Now(failed(&text)),
        Ok(Form::List) => Answer::Now(list(app, query).unwrap_or_else(|text| failed(&text))),
        Ok(Form::Backup { range, filename }) => {
            if let Err(err) = query.finish() {
                return Answer::Now(failed(&err.to_string()));
            }
            let app = Arc::clone(app);
            Answer::Detach(Box::new(move |exchange| {
                if let Err(err) = backup(&app, exchange, range, &filename) {
                    // The client sees a cut answer, which is not mistaken for a whole backup.
                    log::warn!("backup: {err}");
                }
            }))
        }
    }
}

fn list(app: &App, query: Query) -> Result<Reply, String> {
    let registers = app.reader().and_then(|it| schema::registers(&it)).map_err(|err| err.to_string())?;
    let registers = registers.iter().enumerate();
    let registers = registers.map(|(idx, it)| json!({ "name": it.name, "type": it.kind, "idx": idx, "did": it.did }));
    let body = json!({ "ts": store::stamp(app.platform.wall()), "registers": registers.collect::<Vec<_>>() });
    Ok(Reply::json(200, &shape(body, query)?))
}

fn backup(app: &App, exchange: Exchange, range: Range, filename: &str) -> io::Result<()> {
    // The first page is read before the head leaves, so that a database that cannot be read is an error, not a cut.
    let mut page = Vec::new();
    let opened = app.reader().and_then(|mut reader| {
        let mut backup = Backup::open(&reader, range, None)?;
        let more = backup.next_page(&mut reader, &mut page)?;
        Ok((reader, backup, more))
    });
    let (mut reader, mut backup, mut more) = match opened {
        Ok(opened) => opened,
        Err(err) => {
            exchange.reply(failed(&err.to_string()));
            return Ok(());
        }
    };
    let headers = [
        ("Content-Type", "text/plain; charset=utf-8".to_string()),
        ("Content-Disposition", format!("attachment; filename=\"{filename}\"")),
    ];
    let mut stream = exchange.stream(200, &headers)?;
    stream.write_all(&page)?;
    while more {
        page.clear();
        more = backup.next_page(&mut reader, &mut page).map_err(io::Error::other)?;
        stream.write_all(&page)?;
    }
    stream.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expect: &str) {
        let mut rest = Query::parse(query).unwrap();
        let form = parse(&mut rest);
        let got = match form {
            Ok(_) if rest.finish().is_err() => "error: something is left".into(),
            Ok(Form::List) => "list".into(),
            Ok(Form::Backup { range, filename }) => format!(
                "backup {:?} {:?} {filename}",
                range.from.map(|it| it.to_string()),
                range.to.map(|it| it.to_string())
            ),
            Err(text) => format!("error: {text}"),
        };
        assert!(got.starts_with(expect), "{query}: {got}\nexpected {expect}");
    }

    #[test]
    fn a_query_says_list_or_backup() {
        check("", "list");
        check("format=json", "list");
        check("virtual=formula", "list");
        check("format=backup", "backup None None backup.txt");
        check("format=backup&from=1&to=2.5&filename=a.txt", r#"backup Some("1") Some("2.5") a.txt"#);
    }

    #[test]
    fn file_names_cannot_leave_the_header_or_the_folder() {
        for (name, expect) in [("../../etc/x", "_.._etc_x"), ("a\"b\r\nc", "a_b__c"), ("..", "backup.txt"), ("é", "_")]
        {
            assert_eq!(sanitised(name), expect, "{name}");
        }
        assert_eq!(sanitised(&"a".repeat(500)).len(), MAX_FILENAME);
    }

    #[test]
    fn unsupported_options_are_an_error_that_names_them() {
        check("format=csv", "error: format:");
        check("rate", "error: ");
        check("format=backup&reg=all", "error: ");
        check("from=1", "error: ");
        check("format=backup&from=-1", "error: from:");
        check("format=backup&from=2&to=1", "error: from: is later than to.");
        check("virtual=x", "error: virtual:");
    }
}
