//! Transcripts made by hand, for the tests of judges. Nothing of it is in the program.

use crate::http::{Framing, Reply};
use crate::transcript::{Exchange, Transcript};
use crate::verdict::Finding;

/// A transcript of one area with these exchanges: label, status and body of the answer, a second apart.
pub fn transcript<'a>(area: &str, answers: impl IntoIterator<Item = (&'a str, u16, &'a str)>) -> Transcript {
    let mut res = Transcript::default();
    for (label, status, body) in answers {
        let at = res.exchanges.len() as f64;
        res.exchanges.push(exchange(area, label, at, b"POST /api/x HTTP/1.1\r\n\r\n", status, body));
    }
    res
}

/// One exchange: when it was sent, what was sent, and the answer.
pub fn exchange(area: &str, label: &str, at: f64, sent: &[u8], status: u16, body: &str) -> Exchange {
    let reply = Reply {
        version: "HTTP/1.1".into(),
        status,
        headers: vec![("Content-Length".into(), body.len().to_string())],
        body: body.into(),
        framing: Framing::Length,
        interim: 0,
        extra: Vec::new(),
        closed: true,
    };
    let (area, label) = (area.to_string(), label.to_string());
    Exchange { area, label, at, wall: 1.7e9 + at, took: 0.01, sent: sent.to_vec(), answer: Ok(reply) }
}

/// The judge is content.
#[track_caller]
pub fn kept(found: Result<Finding, Finding>) {
    assert_eq!(found, Ok(Finding::Kept));
}

/// The judge makes a note.
#[track_caller]
pub fn quirk(found: Result<Finding, Finding>) {
    assert!(matches!(found, Ok(Finding::Quirk(_))), "{found:?}");
}

/// The judge finds a fault.
#[track_caller]
pub fn broken(found: Result<Finding, Finding>) {
    let found = found.unwrap_or_else(|it| it);
    assert!(matches!(found, Finding::Broken { .. }), "{found:?}");
}

/// The judge has nothing to go by.
#[track_caller]
pub fn untested(found: Result<Finding, Finding>) {
    assert!(matches!(found, Err(Finding::NoEvidence(_))), "{found:?}");
}

/// What the rule of this id says of these answers of its area: label, status and body.
pub fn judge(id: &str, answers: &[(&str, u16, &str)]) -> Result<Finding, Finding> {
    let area = crate::catalogue::areas().into_iter().find(|it| it.rules.iter().any(|it| it.id == id));
    let area = area.unwrap_or_else(|| panic!("{id} is no rule"));
    judge_all(id, &transcript(area.name, answers.iter().copied()))
}

/// What the rule of this id says of a whole transcript.
pub fn judge_all(id: &str, transcript: &Transcript) -> Result<Finding, Finding> {
    let mut all = crate::catalogue::areas().into_iter().flat_map(|area| area.rules.iter().map(move |it| (area, it)));
    let (area, rule) = all.find(|it| it.1.id == id).unwrap_or_else(|| panic!("{id} is no rule"));
    (rule.judge)(&crate::evidence::Evidence::new(transcript, area.name))
}
