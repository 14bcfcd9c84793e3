//! The streaming reader of `POST /cmd/db` bodies against serde_json and base64: what it accepts they accept, with the
//! same members and the same bytes, however the body is cut; and what they accept it accepts, but for its own limits.
use std::fmt;
use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meterd::api::cmd::db_body::{BodyError, Members, scan};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

const MAX_CHARS: u64 = 8192;

/// Gives at most `step` bytes at a time.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(self.0.len()).min(buf.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

fn run(body: &[u8], step: usize) -> Result<(Members, Vec<u8>), BodyError> {
    let mut data = Vec::new();
    let res = scan(&mut Drip(body, step), MAX_CHARS, &mut |it| {
        data.extend_from_slice(it);
        Ok(())
    });
    res.map(|it| (it, data))
}

/// The members that serde_json sees, each as often as it stands there.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_unit<E>(self) -> Result<Pairs, E> {
                Ok(Pairs(Vec::new()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut res = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    res.push(pair);
                }
                Ok(Pairs(res))
            }
        }
        deserializer.deserialize_any(Collect)
    }
}

/// What serde_json makes of a body, if it is something that the reader has to take.
fn by_serde(body: &[u8]) -> Option<Vec<(String, Value)>> {
    match serde_json::from_slice::<Pairs>(body) {
        Ok(pairs) => Some(pairs.0),
        Err(_) if body.iter().all(|it| b" \t\r\n".contains(it)) => Some(Vec::new()),
        Err(_) => None,
    }
}

fn find<'a>(pairs: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    pairs.iter().find(|it| it.0 == name).map(|it| &it.1)
}

/// See the module.
pub fn check(body: &[u8]) {
    let whole = run(body, usize::MAX);
    let dripped = run(body, 1);
    assert_eq!(whole.is_ok(), dripped.is_ok());
    let serde = by_serde(body);
    match whole {
        Ok((members, data)) => {
            assert_eq!(dripped.unwrap(), (Members { data: members.data, ..copy(&members) }, data.clone()));
            let named = [
                ("action", &members.action),
                ("from", &members.from),
                ("to", &members.to),
                ("regs", &members.regs),
                ("more_chunks", &members.more_chunks),
            ];
            // The reader only looks for the end of a member; numbers beyond any type and lone surrogates are left to the
            // parser behind it.
            let parses = |it: &&Vec<u8>| serde_json::from_slice::<Value>(it).is_ok();
            if !named.iter().filter_map(|it| it.1.as_ref()).all(|it| parses(&it)) {
                return;
            }
            let serde = serde.expect("what is taken is JSON");
            for (name, text) in named {
                let own: Option<Value> = text.as_ref().map(|it| serde_json::from_slice(it).unwrap());
                assert_eq!(own.as_ref(), find(&serde, name), "{name}");
            }
            let theirs = find(&serde, "data").and_then(Value::as_str).map(|it| STANDARD.decode(it).unwrap());
            assert_eq!(members.data.map(|_| data), theirs);
        }
        Err(BodyError::Duplicate(_) | BodyError::TooLong(..) | BodyError::TooDeep(_) | BodyError::Unknown(_)) => {}
        Err(BodyError::DataTooLarge(_) | BodyError::DataType | BodyError::NotBase64(_)) => {
            // Refused for what `data` is: had the body been JSON with proper data, it would have been taken.
            let data = serde.as_ref().and_then(|it| find(it, "data")).and_then(Value::as_str);
            let good = data.is_some_and(|it| (it.len() as u64) <= MAX_CHARS && STANDARD.decode(it).is_ok());
            assert!(!good);
        }
        Err(BodyError::Read(_) | BodyError::Write(_)) => unreachable!("neither side fails here"),
        Err(BodyError::Syntax(_) | BodyError::Truncated) => assert!(serde.is_none(), "serde takes it"),
    }
}

fn copy(members: &Members) -> Members {
    Members {
        action: members.action.clone(),
        from: members.from.clone(),
        to: members.to.clone(),
        regs: members.regs.clone(),
        more_chunks: members.more_chunks.clone(),
        data: members.data,
    }
}
