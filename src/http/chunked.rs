//! The `chunked` transfer coding (RFC 9112 §7.1): an incremental decoder and the two lines an encoder needs.
//! It is fed bytes in any cut and owns no socket; a body that ends early is simply never [`Decoder::done`].

use std::fmt;

/// Bytes that the chunk extensions of one body may have together; nobody uses them, so a little is plenty.
const EXTENSIONS: usize = 1024;
/// Bytes of a body's trailer section.
const TRAILERS: usize = 1024;
/// The last chunk with an empty trailer section.
pub const LAST: &[u8] = b"0\r\n\r\n";

/// The bytes are not a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed chunked body")
    }
}

impl std::error::Error for Malformed {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a chunk's size, of which so many digits were seen.
    Size {
        digits: u8,
        size: u64,
    },
    /// In an extension, which is passed over.
    Extension {
        size: u64,
    },
    /// Before the line feed that ends the size line.
    SizeEnd {
        size: u64,
    },
    /// In a chunk's data, of which so much is left.
    Data {
        left: u64,
    },
    /// Before the CR, then the LF, behind the data.
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    Line,
    /// In a trailer line, which is passed over, and before its line feed.
    Trailer,
    TrailerEnd,
    /// Before the body's last byte.
    End,
    Done,
}

/// Decodes one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoder {
    state: State,
    extensions: usize,
    trailers: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { state: State::Size { digits: 0, size: 0 }, extensions: 0, trailers: 0 }
    }
}

impl Decoder {
    /// Whether the whole body, its end included, has been seen.
    pub fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes from the front of `input`: returns how many, and those among them that are data. No data means that
    /// all of `input` was taken or that the body is done; bytes behind the body are never taken.
    pub fn push<'a>(&mut self, input: &'a [u8]) -> Result<(usize, &'a [u8]), Malformed> {
        let mut at = 0;
        while at < input.len() && !self.done() {
            if let State::Data { left } = self.state {
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                let left = left - n as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                return Ok((at + n, &input[at..at + n]));
            }
            self.state = self.step(input[at])?;
            at += 1;
        }
        Ok((at, &[]))
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        let text = matches!(byte, b'\t' | 0x20..=0x7e);
        let res = match (self.state, byte) {
            (State::Size { digits: 1.., size }, b'\r') => State::SizeEnd { size },
            (State::Size { digits: 1.., size }, b';') => State::Extension { size },
            (State::Size { digits, size }, _) if digits < 16 => {
                let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
                State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { .. }, _) if text && self.extensions < EXTENSIONS => {
                self.extensions += 1;
                self.state
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Line,
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0, size: 0 },
            (State::Line, b'\r') => State::End,
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::Line | State::Trailer, _) if text && self.trailers < TRAILERS => {
                self.trailers += 1;
                State::Trailer
            }
            (State::TrailerEnd, b'\n') => State::Line,
            (State::End, b'\n') => State::Done,
            _ => return Err(Malformed),
        };
        Ok(res)
    }
}

/// The line in front of a chunk of `n` bytes; behind it comes another line end.
pub fn size_line(n: usize) -> String {
    format!("{n:x}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the input in the given pieces; `None` is a refusal, else the data and whether the end was seen.
    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<(Vec<u8>, bool, usize)> {
        let (mut decoder, mut data, mut used) = (Decoder::default(), Vec::new(), 0);
        for mut piece in pieces {
            while !piece.is_empty() && !decoder.done() {
                let (n, it) = decoder.push(piece).ok()?;
                data.extend_from_slice(it);
                piece = &piece[n..];
                used += n;
            }
        }
        Some((data, decoder.done(), used))
    }

    #[track_caller]
    fn check(input: &str, expect: Option<(&str, bool)>) {
        let input = input.as_bytes();
        let whole = decode([input]);
        let seen = whole.as_ref().map(|(data, done, _)| (std::str::from_utf8(data).unwrap(), *done));
        assert_eq!(seen, expect);
        for cut in 0..=input.len() {
            assert_eq!(decode([&input[..cut], &input[cut..]]), whole, "cut at {cut}");
        }
        assert_eq!(decode(input.chunks(1)), whole, "byte by byte");
    }

    #[test]
    fn chunks_are_joined_in_every_cut() {
        check("3\r\nabc\r\n0\r\n\r\n", Some(("abc", true)));
        check("3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n", Some(("abc0123456789", true)));
        check("0\r\n\r\n", Some(("", true)));
        check("1;x=\"y\"\r\na\r\n0;last\r\nDigest: x\r\nMore: y\r\n\r\n", Some(("a", true)));
    }

    #[test]
    fn what_follows_the_body_is_left_alone() {
        let (_, done, used) = decode([&b"1\r\na\r\n0\r\n\r\nGET /"[..]]).unwrap();
        assert!(done);
        assert_eq!(used, 11);
    }

    #[test]
    fn an_early_end_is_not_done() {
        for cut in 0..13 {
            let (_, done, _) = decode([&b"3\r\nabc\r\n0\r\n\r\n"[..cut]]).unwrap();
            assert!(!done, "cut at {cut}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for input in [
            "\r\n",
            ";x\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\na\r\n",
            " 1\r\na\r\n",
            "1 \r\na\r\n",
            "1\na\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\rX",
            "1;\u{1}\r\n",
            "1;\n\r\n",
            "10000000000000000\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\n\n",
            "0\r\n\rX",
        ] {
            check(input, None);
        }
    }

    #[test]
    fn the_largest_size_does_not_overflow() {
        check("ffffffffffffffff\r\nabc", Some(("abc", false)));
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        check(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(EXTENSIONS)), Some(("a", true)));
        assert_eq!(decode([format!("1;{}", "x".repeat(EXTENSIONS + 1)).as_bytes()]), None);
        assert_eq!(decode([format!("0\r\n{}", "x".repeat(TRAILERS + 1)).as_bytes()]), None);
        let many = "1;xxxxxxxx\r\na\r\n".repeat(EXTENSIONS / 8 + 1);
        assert_eq!(decode([many.as_bytes()]), None);
    }
}
