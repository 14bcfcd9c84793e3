//! HTTP to the outside: ureq on our own names, sockets and TLS, so that every wait can be cancelled and every address is
//! checked, at every redirect too. Redirects are followed here, by rules of our own.

mod glue;
mod url;

use std::io::Read;
use std::sync::Arc;

use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use ureq::{AsSendBody, Body, BodyReader};

use super::{Lookout, Reach, ReachError};
use glue::Ground;

/// Redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// Bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;
/// Bytes that are read or written at once.
const BUFFER: usize = 16 * 1024;
/// A client for the requests of one operation.
pub struct HttpAgent<'a> {
    agent: ureq::Agent,
    ground: Arc<Ground>,
    look: Lookout<'a>,
    plain: bool,
}

/// A request to be made.
#[derive(Clone)]
pub struct HttpRequest<'a> {
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Option<&'a [u8]>,
    follow: bool,
}

/// An answer whose body is still to be read.
pub struct HttpReply<'a> {
    /// The status code.
    pub status: u16,
    /// Where the answer came from, after redirects.
    pub url: String,
    headers: HeaderMap,
    body: BodyReader<'static>,
    look: Lookout<'a>,
}

impl<'a> HttpRequest<'a> {
    /// `GET url`
    pub fn get(url: &str) -> HttpRequest<'a> {
        HttpRequest { method: Method::GET, url: url.into(), headers: Vec::new(), body: None, follow: false }
    }

    /// `POST url` with a JSON text.
    pub fn post_json(url: &str, body: &'a [u8]) -> HttpRequest<'a> {
        let headers = vec![("content-type", "application/json".to_string())];
        HttpRequest { method: Method::POST, url: url.into(), headers, body: Some(body), follow: false }
    }

    /// With one more header. A value that no header can have is an error when the request is sent.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Redirects are followed; without this they are answers like any other. POST stays POST except after 303, and
    /// credentials stay with the host that they were for.
    pub fn following(mut self) -> Self {
        self.follow = true;
        self
    }
}

impl<'a> HttpAgent<'a> {
    pub(super) fn new(reach: Reach, look: &Lookout<'a>) -> HttpAgent<'a> {
        let ground = Arc::new(Ground::new(reach, look));
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("meterd/", env!("CARGO_PKG_VERSION")))
            .max_response_header_size(MAX_HEAD)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            // A kept connection may be closed just when the next request is on its way, and a POST is not sent twice.
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .build();
        let parts = (glue::Connector(Arc::clone(&ground)), glue::Resolver(Arc::clone(&ground)));
        let agent = ureq::Agent::with_parts(config, parts.0, parts.1);
        HttpAgent { agent, ground, look: *look, plain: false }
    }

    /// Plain HTTP is allowed everywhere. Without this it is only where `allow_targets` names the address, for benches.
    pub fn with_plain_http(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Sends a request and waits for the head of the answer. Whatever the status code, an answer is no error. A redirect
    /// never leads from HTTPS to plain HTTP, nor to plain HTTP at all unless that is allowed everywhere.
    pub fn send(&self, request: HttpRequest) -> Result<HttpReply<'a>, ReachError> {
        let HttpRequest { mut method, url, headers, mut body, follow } = request;
        let mut at = url::parse(&url)?;
        let mut head = header_map(&headers)?;
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.once(&method, &at, &head, body)?;
            let target = match (follow, reply.status, reply.headers.get(LOCATION)) {
                (true, 301 | 302 | 303 | 307 | 308, Some(target)) => target.to_str().map_err(|_| not_a_url(&at))?,
                _ => return Ok(reply),
            };
            let next = url::join(&at, target)?;
            if !url::is_secure(&next) && (!self.plain || url::is_secure(&at)) {
                return Err(ReachError::NotSecure(next.host().unwrap_or_default().into()));
            }
            if reply.status == 303 {
                (method, body) = (Method::GET, None);
                head.remove(CONTENT_TYPE);
            }
            if !url::same_server(&at, &next) {
                head.remove(AUTHORIZATION);
                head.remove(COOKIE);
            }
            at = next;
        }
        Err(ReachError::Http(format!("{}: more than {MAX_REDIRECTS} redirects", url::shown(&at))))
    }

    fn once(
        &self,
        method: &Method,
        at: &Uri,
        head: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<HttpReply<'a>, ReachError> {
        self.look.check()?;
        self.ground.allow_plain(self.plain);
        let mut builder = Request::builder().method(method).uri(at);
        if let Some(headers) = builder.headers_mut() {
            *headers = head.clone();
        }
        let (parts, body) = match body {
            Some(body) => self.run(builder.body(body), at)?,
            None => self.run(builder.body(()), at)?,
        };
        Ok(HttpReply {
            status: parts.status.as_u16(),
            url: at.to_string(),
            headers: parts.headers,
            // No limit of ureq's own: whoever reads has one.
            body: body.into_with_config().limit(u64::MAX).reader(),
            look: self.look,
        })
    }

    fn run<B: AsSendBody>(
        &self,
        request: Result<Request<B>, ureq::http::Error>,
        at: &Uri,
    ) -> Result<(ureq::http::response::Parts, Body), ReachError> {
        let request = request.map_err(|err| ReachError::Http(err.to_string()))?;
        let reply = self.agent.run(request).map_err(|err| glue::failure(err, at))?;
        Ok(reply.into_parts())
    }
}

impl HttpReply<'_> {
    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length of the body, if the answer says it.
    pub fn length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Reads more of the body; 0 is its end. A body that ends before it is complete is [`ReachError::Closed`].
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReachError> {
        self.look.check()?;
        self.body.read(buf).map_err(glue::body_failure)
    }

    /// The whole body, if it has no more than `limit` bytes.
    pub fn bytes(&mut self, limit: usize) -> Result<Vec<u8>, ReachError> {
        let too_large = || ReachError::TooLarge(limit as u64);
        if self.length().is_some_and(|it| it > limit as u64) {
            return Err(too_large());
        }
        let mut res = Vec::new();
        let mut buf = [0; 4096];
        loop {
            match self.read(&mut buf)? {
                0 => return Ok(res),
                length if limit < res.len() + length => return Err(too_large()),
                length => res.extend_from_slice(&buf[..length]),
            }
        }
    }
}

fn header_map(headers: &[(&'static str, String)]) -> Result<HeaderMap, ReachError> {
    let mut res = HeaderMap::new();
    for (name, value) in headers {
        // The value may be a secret, so that the error only has the name.
        let wrong = || ReachError::Http(format!("{name}: no header can have this value"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        res.append(key, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(res)
}

fn not_a_url(at: &Uri) -> ReachError {
    ReachError::Http(format!("{}: the redirect leads to no usable address", url::shown(at)))
}
