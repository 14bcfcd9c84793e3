//! The two ends of a request that has left its worker: the body to read, and exactly one answer to give.
//! Dropped without an answer it says 500; a stream dropped unfinished is seen as cut, never as whole.

use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::time::Duration;

use super::chunked::{self, Decoder};
use super::reply::{self, Reply};
use super::request::Request;
use crate::sys::clock;

/// Bytes of a streamed body that are read at a time.
const PIECE: usize = 8 * 1024;
/// No size line: the gate takes it for what it is, a cut.
const CUT: &[u8] = b"!\r\n";

/// A request on its way to an answer.
pub struct Exchange {
    ends: Ends,
    head_only: bool,
    received: Duration,
}

enum Ends {
    /// The body is here; tiny_http's request has been taken apart, so that its connection's thread is free.
    Whole { body: Cursor<Vec<u8>>, writer: Box<dyn Write + Send> },
    /// The body is still coming.
    Streamed(Box<Upload>),
    /// The answer was given.
    Answered,
}

/// A body that comes in chunks through tiny_http's raw reader. tiny_http's own decoder would take a body that ends inside a
/// chunk for a whole one.
struct Upload {
    request: tiny_http::Request,
    decoder: Decoder,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
}

impl Exchange {
    /// Takes over a request whose body, unless it is streamed, has been read.
    pub(super) fn new(raw: tiny_http::Request, request: &Request) -> Exchange {
        let ends = if request.streamed {
            let buffer = vec![0; PIECE].into();
            Ends::Streamed(Box::new(Upload { request: raw, decoder: Decoder::default(), buffer, at: 0, end: 0 }))
        } else {
            Ends::Whole { body: Cursor::default(), writer: raw.into_writer() }
        };
        Exchange { ends, head_only: request.method == "HEAD", received: request.received }
    }

    /// Gives the collected body back to whoever reads it from here on.
    pub(super) fn set_body(&mut self, bytes: Vec<u8>) {
        if let Ends::Whole { body, .. } = &mut self.ends {
            *body = Cursor::new(bytes);
        }
    }

    /// The body, streamed or collected. An upload that is cut off ends with an error, not with an end.
    pub fn body(&mut self) -> &mut dyn Read {
        self
    }

    /// When the body's last byte was read, on the clock of [`clock::boottime`]; until then, when the head came.
    pub fn received(&self) -> Duration {
        self.received
    }

    /// Answers.
    pub fn reply(mut self, reply: Reply) {
        self.answer(&reply);
    }

    /// Answers with a body of unknown length, to be written to the result.
    pub fn stream(mut self, status: u16, headers: &[(&str, String)]) -> io::Result<Stream> {
        let head_only = self.head_only;
        let mut writer = self.writer().ok_or(ErrorKind::NotConnected)?;
        reply::write_stream_head(&mut *writer, status, headers)?;
        Ok(Stream { writer, head_only, finished: false })
    }

    fn answer(&mut self, reply: &Reply) {
        let head_only = self.head_only;
        if let Some(mut writer) = self.writer()
            && let Err(err) = reply.write(&mut *writer, head_only)
        {
            // Nobody is there any more; what was done stays done.
            log::debug!("an answer was not taken: {err}");
        }
    }

    fn writer(&mut self) -> Option<Box<dyn Write + Send>> {
        match std::mem::replace(&mut self.ends, Ends::Answered) {
            Ends::Whole { writer, .. } => Some(writer),
            Ends::Streamed(upload) => Some(upload.request.into_writer()),
            Ends::Answered => None,
        }
    }
}

impl Read for Exchange {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.ends {
            Ends::Whole { body, .. } => body.read(buf),
            Ends::Streamed(upload) => {
                let open = !upload.decoder.done();
                let n = upload.read(buf)?;
                if open && upload.decoder.done() {
                    self.received = clock::boottime();
                }
                Ok(n)
            }
            Ends::Answered => Ok(0),
        }
    }
}

impl Read for Upload {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !self.decoder.done() && !buf.is_empty() {
            if self.at == self.end {
                let n = self.request.as_reader().read(&mut self.buffer)?;
                if n == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                (self.at, self.end) = (0, n);
            }
            // No more input than the caller has room for, so that its data fits.
            let input = &self.buffer[self.at..self.end.min(self.at + buf.len())];
            let (used, data) = self.decoder.push(input).map_err(|err| io::Error::new(ErrorKind::InvalidData, err))?;
            self.at += used;
            if !data.is_empty() {
                buf[..data.len()].copy_from_slice(data);
                return Ok(data.len());
            }
        }
        Ok(0)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.answer(&Reply::error(500, "An internal error occurred."));
    }
}

/// An answer that is written piece by piece, each write a chunk.
pub struct Stream {
    writer: Box<dyn Write + Send>,
    head_only: bool,
    finished: bool,
}

impl Stream {
    /// Ends the answer. Without this it counts as cut.
    pub fn finish(mut self) -> io::Result<()> {
        self.finished = true;
        if !self.head_only {
            self.writer.write_all(chunked::LAST)?;
        }
        self.writer.flush()
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // An empty chunk would be the last one.
        if !buf.is_empty() && !self.head_only {
            self.writer.write_all(chunked::size_line(buf.len()).as_bytes())?;
            self.writer.write_all(buf)?;
            self.writer.write_all(b"\r\n")?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.finished && !self.head_only {
            let _ = self.writer.write_all(CUT);
        }
        let _ = self.writer.flush();
    }
}
