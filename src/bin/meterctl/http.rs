//! One request and its reply. Whatever status a meter answers with is a reply here; only a link that fails is an error,
//! and it says whether the request may have arrived. Nothing is sent twice.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, Error, Timeout};

use super::failure::{Failure, Kind};
use super::wire::{Interrupted, Wires};

/// Bytes of a reply that is not streamed.
const MAX_REPLY: u64 = 8 * 1024 * 1024;
/// Bytes of an error's text that are shown.
const MAX_TEXT: usize = 300;
/// The longest silence on an open connection, but for what a meter may answer only when it is done.
const SILENCE: Duration = Duration::from_secs(30);

/// A meter's address and how to talk to it.
pub struct Http {
    /// For what is answered at once.
    quick: Agent,
    /// For what may take long, which Ctrl-C leaves.
    slow: Agent,
    /// Where the API is, without a slash at the end.
    pub base: String,
}

/// An answer, whatever it says.
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body if it is JSON, else null.
    pub json: Value,
    /// The beginning of the body.
    pub text: String,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    /// `Location`.
    pub location: Option<String>,
}

/// A link that failed.
#[derive(Debug)]
pub struct Lost {
    /// The request cannot have arrived.
    pub unsent: bool,
    /// In which way.
    pub way: Way,
    /// Why.
    pub text: String,
}

/// In which way a link failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nobody answered, or not to the end.
    Silence,
    /// It is of no use to try again: the certificate, for example.
    Hopeless,
    /// What is spoken at that port is not TLS.
    Plain,
    /// Ctrl-C ended the wait.
    Left,
}

/// What to send.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The path below the base, with its query.
    pub path: &'a str,
    /// The body of a POST.
    pub body: &'a [u8],
    /// Ask for an answer before the operation is done (RFC 7240); a meter that does not know this ignores it.
    pub respond_async: bool,
    /// Seconds for everything; 0 for as long as something comes.
    pub within: u64,
    /// How long an answer may take to begin, on top of that, where a meter may answer only when it is done.
    pub patience: Option<Duration>,
}

impl<'a> Request<'a> {
    /// Reads a resource.
    pub fn get(path: &'a str) -> Request<'a> {
        Request { method: "GET", path, body: b"", respond_async: false, within: 30, patience: None }
    }

    /// Runs a command.
    pub fn post(path: &'a str, body: &'a [u8]) -> Request<'a> {
        Request { method: "POST", body, ..Request::get(path) }
    }
}

impl Http {
    /// Takes an address as people write it.
    pub fn new(url: &str, cacert: Option<&Path>, insecure: bool) -> Result<Http, Failure> {
        let base = base(url).map_err(|text| Failure::new(Kind::Usage, format!("--url: {text}.")))?;
        let roots = match cacert {
            Some(path) => RootCerts::from(certificates(path)?),
            None => RootCerts::WebPki,
        };
        let tls = TlsConfig::builder().root_certs(roots).disable_verification(insecure).build();
        // A connection per request: one that was kept may be closed by the meter just when a command goes out, and then
        // nobody knows whether it arrived. A meter is reached directly, whatever the environment says of proxies.
        let config = || {
            Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .max_idle_connections(0)
                .proxy(None)
                .user_agent(concat!("meterctl/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(Some(Duration::from_secs(10)))
                .timeout_resolve(Some(Duration::from_secs(10)))
                .timeout_per_read(Some(SILENCE))
                .timeout_per_write(Some(SILENCE))
                .tls_config(tls.clone())
                .build()
        };
        let agent = |heeds_interrupt| {
            let connector = Wires { heeds_interrupt }.chain(RustlsConnector::default());
            Agent::with_parts(config(), connector, DefaultResolver::default())
        };
        Ok(Http { quick: agent(false), slow: agent(true), base })
    }

    /// Sends a request and takes the whole reply in.
    pub fn send(&self, request: Request, token: Option<&str>) -> Result<Reply, Lost> {
        let mut response = self.open(request, token)?;
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().ok()?.to_string())
        };
        let (retry_after, location) = (header("retry-after").and_then(|it| it.parse().ok()), header("location"));
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_REPLY).read_to_vec().map_err(lost)?;
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let text = String::from_utf8_lossy(&body).chars().take(MAX_TEXT).collect();
        Ok(Reply { status, json, text, retry_after, location })
    }

    /// Sends a request; the body of the reply is for the caller to read.
    pub fn open(&self, request: Request, token: Option<&str>) -> Result<ureq::http::Response<ureq::Body>, Lost> {
        let uri = format!("{}{}", self.base, request.path);
        let mut head = ureq::http::Request::builder().method(request.method).uri(uri);
        if !request.body.is_empty() {
            head = head.header("Content-Type", "application/json");
        }
        if let Some(token) = token {
            head = head.header("Authorization", format!("Bearer {token}"));
        }
        if request.respond_async {
            head = head.header("Prefer", "respond-async");
        }
        let response = if request.method == "POST" {
            head.body(request.body).map_err(Error::from).and_then(|it| self.run(it, &request))
        } else {
            head.body(()).map_err(Error::from).and_then(|it| self.run(it, &request))
        };
        response.map_err(lost)
    }
}

impl Http {
    fn run<B: ureq::AsSendBody>(
        &self,
        head: ureq::http::Request<B>,
        request: &Request,
    ) -> Result<ureq::http::Response<ureq::Body>, Error> {
        let agent = if request.patience.is_some() { &self.slow } else { &self.quick };
        let patience = request.patience.unwrap_or_default();
        let within = Some(request.within).filter(|it| 0 < *it).map(|it| Duration::from_secs(it) + patience);
        let silence = SILENCE.max(patience);
        agent.run(agent.configure_request(head).timeout_global(within).timeout_per_read(Some(silence)).build())
    }
}

/// Reads a body and says of a cut one that it is cut.
pub fn reader(response: ureq::http::Response<ureq::Body>) -> Box<dyn Read> {
    Box::new(response.into_body().into_with_config().limit(u64::MAX).reader())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let pem = std::fs::read(path).map_err(|err| Failure::file(path, err))?;
    let found = parse_pem(&pem).filter_map(|it| match it {
        Ok(PemItem::Certificate(it)) => Some(it),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => Err(Failure::file(path, "there is no certificate in it")),
        false => Ok(found),
    }
}

/// The address of the API, from what people write.
fn base(url: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    if !["http", "https"].contains(&scheme) {
        return Err(format!("{scheme} is neither http nor https"));
    }
    let rest = rest.trim_end_matches('/');
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if host.contains('@') {
        return Err("no account in the address, please; see --user and METERCTL_PASSWORD".into());
    }
    if host.is_empty() || rest.contains(['?', '#']) || rest.contains(|it: char| it.is_whitespace() || it.is_control()) {
        return Err(format!("{url:?} is no address of a meter, such as http://meter.local"));
    }
    let path = if path.is_empty() { "/api" } else { path };
    Ok(format!("{scheme}://{host}{path}"))
}

fn lost(err: Error) -> Lost {
    let unsent = match &err {
        Error::HostNotFound | Error::ConnectionFailed | Error::Tls(_) | Error::Rustls(_) => true,
        Error::Timeout(which) => matches!(which, Timeout::Resolve | Timeout::Connect),
        Error::Io(err) => {
            use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
            [ConnectionRefused, HostUnreachable, NetworkUnreachable].contains(&err.kind())
        }
        _ => false,
    };
    let text = match &err {
        Error::Io(err) => err.to_string(),
        Error::Rustls(err) => format!("TLS: {err}"),
        Error::HostNotFound => "there is no such host".into(),
        Error::Timeout(_) => "it did not answer in time".into(),
        other => other.to_string(),
    };
    // rustls reports what it thinks of a certificate as data that makes no sense.
    let way = match &err {
        Error::Io(err) if err.get_ref().is_some_and(|it| it.is::<Interrupted>()) => Way::Left,
        // Its name for a first byte that no message of TLS begins with.
        _ if text.contains("InvalidContentType") => Way::Plain,
        Error::Rustls(_) | Error::Tls(_) | Error::BadUri(_) => Way::Hopeless,
        Error::Io(err) if err.kind() == io::ErrorKind::InvalidData => Way::Hopeless,
        _ => Way::Silence,
    };
    Lost { unsent, way, text }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// What becomes of a request to somebody who takes it and answers `reply` after a while.
    fn ask(scheme: &str, reply: &'static [u8], after: Duration, patience: Option<Duration>) -> Result<u16, Lost> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 4096]);
            thread::sleep(after);
            let _ = io::Write::write_all(&mut stream, reply);
        });
        let http = Http::new(&url, None, false).unwrap();
        let res = http.send(Request { within: 1, patience, ..Request::get("/x") }, None).map(|it| it.status);
        server.join().unwrap();
        res
    }

    #[test]
    fn a_slow_answer_is_waited_for_where_there_is_patience() {
        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let slow = Duration::from_millis(1500);
        assert_eq!(ask("http", reply, slow, Some(Duration::from_secs(20))).ok(), Some(200));
        let begun = Instant::now();
        let lost = ask("http", reply, slow, None).unwrap_err();
        assert_eq!((lost.way, lost.unsent), (Way::Silence, false));
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_port_without_tls_is_told_from_a_bad_certificate() {
        let lost = ask("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", Duration::ZERO, None).unwrap_err();
        assert_eq!(lost.way, Way::Plain);
    }

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (url, expect) in [
            ("meter.local", "http://meter.local/api"),
            ("192.168.1.20:8080/", "http://192.168.1.20:8080/api"),
            ("https://meter.example", "https://meter.example/api"),
            ("http://[::1]:80/api/", "http://[::1]:80/api"),
            ("http://host/meters/7/api", "http://host/meters/7/api"),
        ] {
            assert_eq!(base(url).as_deref(), Ok(expect), "{url}");
        }
        for url in ["", "ftp://x", "http://", "http://me:pw@meter", "meter/api?x=1", "a b"] {
            assert!(base(url).is_err(), "{url}");
        }
    }
}
