//! How a body is cut out of a stream of bytes, for requests and for answers.

use crate::http::chunked::{Decoder, Malformed};

/// Bytes by which a body grows at a time: memory is taken for what has come, not for what was announced.
const STEP: usize = 16 * 1024;

/// What is left of one body.
#[derive(Clone, Debug)]
pub(super) enum Flow {
    /// So many bytes.
    Length(u64),
    /// Chunks, up to the last one.
    Chunked(Decoder),
}

impl Flow {
    pub(super) fn chunked() -> Flow {
        Flow::Chunked(Decoder::default())
    }

    pub(super) fn done(&self) -> bool {
        match self {
            Flow::Length(left) => *left == 0,
            Flow::Chunked(decoder) => decoder.done(),
        }
    }

    /// Takes as much of the body as `input` has and adds it to `sink`; returns how many bytes of `input` are used up.
    pub(super) fn take(&mut self, input: &[u8], sink: &mut Vec<u8>) -> Result<usize, Malformed> {
        match self {
            Flow::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                append(sink, &input[..n]);
                *left -= n as u64;
                Ok(n)
            }
            Flow::Chunked(decoder) => {
                let mut used = 0;
                while used < input.len() && !decoder.done() {
                    let (n, data) = decoder.push(&input[used..])?;
                    append(sink, data);
                    used += n;
                }
                Ok(used)
            }
        }
    }
}

/// Adds to a body without the doubling of `Vec`, which would hold twice what a limit allows. Most bodies come in one
/// piece and need no room for more.
fn append(body: &mut Vec<u8>, piece: &[u8]) {
    if body.capacity() - body.len() < piece.len() {
        body.reserve_exact(if body.is_empty() { piece.len() } else { piece.len().max(STEP) });
    }
    body.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_where_the_next_request_begins() {
        for (mut flow, input) in
            [(Flow::Length(3), &b"abcGET"[..]), (Flow::chunked(), b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\nGET")]
        {
            let mut body = Vec::new();
            let used = flow.take(input, &mut body).unwrap();
            assert_eq!((body.as_slice(), &input[used..], flow.done()), (&b"abc"[..], &b"GET"[..], true));
        }
    }
}
