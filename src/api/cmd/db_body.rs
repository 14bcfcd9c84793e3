//! The body of `POST /cmd/db`, read as a stream: members in any order, `data` decoded from base64 as it arrives.
//! It hands decoded bytes to a sink and raw members to its caller; what they mean is not its business.

use std::fmt;
use std::io::{self, Read};

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

/// Bytes taken from the body at a time.
const READ_BYTES: usize = 16 * 1024;
/// Base64 characters decoded at a time; a multiple of four, so that only the last block can hold padding.
const BLOCK_CHARS: usize = 4096;
/// Bytes of a member's name as it stands in the JSON text, escapes included.
const MAX_NAME: usize = 256;
/// Bytes of the JSON text of a member other than `data`.
const MAX_VALUE: usize = 8 * 1024;
/// Nesting in such a member: `regs` is a list, deeper values are refused for their type later on.
const MAX_DEPTH: usize = 16;

/// Every block but the last is whole, so padding inside `data` is an error.
const WHOLE_BLOCKS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// The members of the body: the JSON text of each but `data`, which went to the sink.
#[derive(Debug, Default, PartialEq)]
pub struct Members {
    /// JSON text of `action`.
    pub action: Option<Vec<u8>>,
    /// JSON text of `from`.
    pub from: Option<Vec<u8>>,
    /// JSON text of `to`.
    pub to: Option<Vec<u8>>,
    /// JSON text of `regs`.
    pub regs: Option<Vec<u8>>,
    /// JSON text of `more_chunks`.
    pub more_chunks: Option<Vec<u8>>,
    /// Decoded bytes of `data`; absent when the member is absent or `null`.
    pub data: Option<u64>,
}

/// Why a body is refused.
#[derive(Debug)]
pub enum BodyError {
    /// It is not one JSON object; what was expected instead.
    Syntax(&'static str),
    /// It stops before the object is complete.
    Truncated,
    /// A member that the command does not know.
    Unknown(String),
    /// A member that stands there twice.
    Duplicate(String),
    /// A member whose name or value is longer than anything sensible, and the limit in bytes.
    TooLong(String, usize),
    /// A member whose value is nested deeper than anything sensible.
    TooDeep(String),
    /// `data` is neither a string nor `null`.
    DataType,
    /// `data` has more base64 characters than this device takes.
    DataTooLarge(u64),
    /// `data` is not base64; the offset of the block of characters that could not be decoded.
    NotBase64(u64),
    /// Reading the body failed: the client left or stalled.
    Read(io::Error),
    /// The sink failed, most likely for want of room.
    Write(io::Error),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Syntax(expected) => write!(f, "The body is not a JSON object: {expected} expected."),
            BodyError::Truncated => f.write_str("The body ends before the JSON object does."),
            BodyError::Unknown(name) => write!(f, "{name}: unknown member."),
            BodyError::Duplicate(name) => write!(f, "{name}: given more than once."),
            BodyError::TooLong(name, max) => write!(f, "{name}: longer than {max} bytes."),
            BodyError::TooDeep(name) => write!(f, "{name}: nested too deeply."),
            BodyError::DataType => f.write_str("data: must be a string of base64."),
            BodyError::DataTooLarge(max) => write!(
                f,
                "data: longer than {max} base64 characters; split the backup into smaller chunks and restore them youngest first."
            ),
            BodyError::NotBase64(at) => write!(f, "data: not base64 (near character {at})."),
            BodyError::Read(err) => write!(f, "The body could not be read: {err}."),
            BodyError::Write(err) if err.kind() == io::ErrorKind::StorageFull => {
                f.write_str("data: no room on the meter's disk to hold this chunk.")
            }
            BodyError::Write(err) if err.kind() == io::ErrorKind::QuotaExceeded => {
                f.write_str("data: as much as the meter stages is waiting already; wait until an operation is done.")
            }
            BodyError::Write(err) => write!(f, "data: could not be stored: {err}."),
        }
    }
}

impl std::error::Error for BodyError {}

/// Reads a whole body. Decoded bytes of `data` go to `sink` in order, at most `max_chars / 4 * 3` of them.
///
/// An empty body and `null` give no members at all.
pub fn scan(
    body: &mut dyn Read,
    max_chars: u64,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<Members, BodyError> {
    let mut src = Source { body, buf: vec![0; READ_BYTES], at: 0, end: 0 };
    let mut res = Members::default();
    match src.skip_blank()? {
        None => return Ok(res),
        Some(b'{') => src.at += 1,
        Some(b'n') => {
            src.literal(b"null")?;
            return src.nothing_more().map(|()| res);
        }
        Some(_) => return Err(BodyError::Syntax("'{'")),
    }
    if src.blank_then()? == b'}' {
        src.at += 1;
        return src.nothing_more().map(|()| res);
    }
    let mut seen_data = false;
    loop {
        if src.blank_then()? != b'"' {
            return Err(BodyError::Syntax("a member's name"));
        }
        let mut text = Vec::new();
        src.string_text(&mut text, MAX_NAME, "a member's name")?;
        let name: String =
            serde_json::from_slice(&text).map_err(|_| BodyError::Syntax("a well-formed member's name"))?;
        if src.blank_then()? != b':' {
            return Err(BodyError::Syntax("':'"));
        }
        src.at += 1;
        let slot = match name.as_str() {
            "data" => None,
            "action" => Some(&mut res.action),
            "from" => Some(&mut res.from),
            "to" => Some(&mut res.to),
            "regs" => Some(&mut res.regs),
            "more_chunks" => Some(&mut res.more_chunks),
            _ => return Err(BodyError::Unknown(name)),
        };
        match slot {
            Some(slot) if slot.is_some() => return Err(BodyError::Duplicate(name)),
            Some(slot) => *slot = Some(src.value(&name)?),
            None if seen_data => return Err(BodyError::Duplicate(name)),
            None => {
                seen_data = true;
                res.data = src.data(max_chars, sink)?;
            }
        }
        match src.blank_then()? {
            b',' => src.at += 1,
            b'}' => break,
            _ => return Err(BodyError::Syntax("',' or '}'")),
        }
    }
    src.at += 1;
    src.nothing_more().map(|()| res)
}

/// A buffered view of the body: `buf[at..end]` is what is there and not yet consumed.
struct Source<'a> {
    body: &'a mut dyn Read,
    buf: Vec<u8>,
    at: usize,
    end: usize,
}

impl Source<'_> {
    /// The next byte without consuming it; `None` at the end of the body.
    fn peek(&mut self) -> Result<Option<u8>, BodyError> {
        while self.at == self.end {
            match self.body.read(&mut self.buf) {
                Ok(0) => return Ok(None),
                Ok(n) => (self.at, self.end) = (0, n),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(BodyError::Read(err)),
            }
        }
        Ok(Some(self.buf[self.at]))
    }

    fn next(&mut self) -> Result<u8, BodyError> {
        let res = self.peek()?.ok_or(BodyError::Truncated)?;
        self.at += 1;
        Ok(res)
    }

    fn skip_blank(&mut self) -> Result<Option<u8>, BodyError> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return Ok(other),
            }
        }
    }

    fn blank_then(&mut self) -> Result<u8, BodyError> {
        self.skip_blank()?.ok_or(BodyError::Truncated)
    }

    fn nothing_more(&mut self) -> Result<(), BodyError> {
        match self.skip_blank()? {
            None => Ok(()),
            Some(_) => Err(BodyError::Syntax("nothing after the object")),
        }
    }

    fn literal(&mut self, text: &[u8]) -> Result<(), BodyError> {
        for &expected in text {
            if self.next()? != expected {
                return Err(BodyError::Syntax("a JSON value"));
            }
        }
        Ok(())
    }

    /// Copies a string with its quotes, as it stands in the text.
    fn string_text(&mut self, into: &mut Vec<u8>, max: usize, name: &str) -> Result<(), BodyError> {
        into.push(self.next()?);
        loop {
            let byte = self.next()?;
            into.push(byte);
            if into.len() > max {
                return Err(BodyError::TooLong(name.into(), max));
            }
            match byte {
                b'"' => return Ok(()),
                b'\\' => into.push(self.next()?),
                _ => {}
            }
        }
    }

    /// Copies the text of any value; serde judges it later, this only finds where it ends.
    fn value(&mut self, name: &str) -> Result<Vec<u8>, BodyError> {
        let mut res = Vec::new();
        let mut depth = 0;
        self.blank_then()?;
        loop {
            match self.peek()?.ok_or(BodyError::Truncated)? {
                b'"' => self.string_text(&mut res, MAX_VALUE, name)?,
                open @ (b'[' | b'{') => {
                    self.at += 1;
                    res.push(open);
                    depth += 1;
                }
                b',' | b'}' | b']' if depth == 0 => break,
                close @ (b']' | b'}') => {
                    self.at += 1;
                    res.push(close);
                    depth -= 1;
                }
                other => {
                    self.at += 1;
                    res.push(other);
                }
            }
            if depth > MAX_DEPTH {
                return Err(BodyError::TooDeep(name.into()));
            }
            if res.len() > MAX_VALUE {
                return Err(BodyError::TooLong(name.into(), MAX_VALUE));
            }
        }
        // Anything but a well-formed value is refused here, so that the caller only sees type errors.
        match serde_json::from_slice::<serde::de::IgnoredAny>(&res) {
            Ok(_) => Ok(res),
            Err(_) => Err(BodyError::Syntax("a JSON value")),
        }
    }

    /// The string of `data`, decoded into the sink; the number of decoded bytes, or `None` for `null`.
    fn data(
        &mut self,
        max_chars: u64,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Option<u64>, BodyError> {
        match self.blank_then()? {
            b'"' => self.at += 1,
            b'n' => return self.literal(b"null").map(|()| None),
            _ => return Err(BodyError::DataType),
        }
        let mut decoder = Decoder { block: Vec::with_capacity(BLOCK_CHARS), chars: 0, bytes: 0, max_chars, sink };
        loop {
            self.peek()?.ok_or(BodyError::Truncated)?;
            let run = &self.buf[self.at..self.end];
            let len = run.iter().position(|&it| it == b'"' || it == b'\\').unwrap_or(run.len());
            decoder.push(&run[..len])?;
            self.at += len;
            if self.at == self.end {
                continue;
            }
            if self.next()? == b'"' {
                return decoder.finish().map(Some);
            }
            let escaped = self.escape(decoder.chars)?;
            decoder.push(&[escaped])?;
        }
    }

    /// The character behind a backslash. Encoders escape '/' and, rarely, write ASCII as `\u....`; whatever else
    /// an escape can mean is not a base64 character.
    fn escape(&mut self, at: u64) -> Result<u8, BodyError> {
        match self.next()? {
            b'/' => Ok(b'/'),
            b'u' => {
                let mut code = 0;
                for _ in 0..4 {
                    let digit = char::from(self.next()?).to_digit(16).ok_or(BodyError::Syntax("four hex digits"))?;
                    code = code * 16 + digit;
                }
                u8::try_from(code).map_err(|_| BodyError::NotBase64(at))
            }
            _ => Err(BodyError::NotBase64(at)),
        }
    }
}

/// Collects base64 characters into blocks and decodes them.
struct Decoder<'a> {
    block: Vec<u8>,
    chars: u64,
    bytes: u64,
    max_chars: u64,
    sink: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl Decoder<'_> {
    fn push(&mut self, mut chars: &[u8]) -> Result<(), BodyError> {
        self.chars += chars.len() as u64;
        if self.chars > self.max_chars {
            return Err(BodyError::DataTooLarge(self.max_chars));
        }
        while !chars.is_empty() {
            // A full block is decoded only when more follows: the last one may end in padding.
            if self.block.len() == BLOCK_CHARS {
                self.decode(&WHOLE_BLOCKS)?;
            }
            let n = chars.len().min(BLOCK_CHARS - self.block.len());
            self.block.extend_from_slice(&chars[..n]);
            chars = &chars[n..];
        }
        Ok(())
    }

    fn decode(&mut self, engine: &GeneralPurpose) -> Result<(), BodyError> {
        let mut out = [0; BLOCK_CHARS / 4 * 3];
        let at = self.chars - self.block.len() as u64;
        let n = engine.decode_slice(&self.block, &mut out).map_err(|_| BodyError::NotBase64(at))?;
        (self.sink)(&out[..n]).map_err(BodyError::Write)?;
        self.bytes += n as u64;
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<u64, BodyError> {
        self.decode(&STANDARD)?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests;
