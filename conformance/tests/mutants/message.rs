//! Requests and replies as they pass the proxy: what nobody changes leaves byte for byte as it came. It knows HTTP's
//! framing and JSON bodies, nothing of the API.

use serde_json::{Map, Value};

/// A head and a body.
#[derive(Clone)]
pub struct Message {
    /// The first line and the fields, as they came.
    pub lines: Vec<String>,
    /// The body with its framing taken off.
    pub body: Vec<u8>,
    /// All bytes as they came, while nothing is changed.
    original: Option<Vec<u8>>,
    /// Bytes that follow on the same connection without being asked for.
    extra: Vec<u8>,
    /// Whether the connection ends with it though it does not say so.
    hangs_up: bool,
}

impl Message {
    /// A reply with a JSON body.
    pub fn answer(status: u16, body: &Value) -> Message {
        Message::plain(status, body.to_string().as_bytes())
    }

    /// A reply with any body.
    pub fn plain(status: u16, body: &[u8]) -> Message {
        let lines = vec![format!("HTTP/1.1 {status} Changed"), "Content-Type: application/json".into()];
        let mut res = Message { lines, body: Vec::new(), original: None, extra: Vec::new(), hangs_up: false };
        res.set_body(body.to_vec());
        res
    }

    /// No reply at all: the connection is closed.
    pub fn nothing() -> Message {
        Message { lines: Vec::new(), body: Vec::new(), original: None, extra: Vec::new(), hangs_up: false }
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// The path of a request, without the API's base and the query.
    pub fn path(&self) -> &str {
        let path = self.word(1).split('?').next().unwrap_or_default();
        path.strip_prefix("/api").unwrap_or(path)
    }

    /// The query of a request, without its question mark.
    pub fn query(&self) -> &str {
        self.word(1).split_once('?').map_or("", |it| it.1)
    }

    /// Whether it is a request of that method whose path begins so.
    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method() == method && self.path().starts_with(path)
    }

    /// The status of a reply; 0 if there is none.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    /// The same reply with another status.
    pub fn with_status(mut self, status: u16) -> Message {
        self.original = None;
        if let Some(line) = self.lines.first_mut() {
            *line = format!("HTTP/1.1 {status} Changed");
        }
        self
    }

    /// A field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.lines.iter().skip(1).filter_map(|it| it.split_once(':'));
        fields.into_iter().find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.trim())
    }

    /// With this field instead of all of its name; without a value, with none of its name.
    pub fn with_field(mut self, name: &str, value: Option<&str>) -> Message {
        self.original = None;
        let of_name = |line: &String| line.split_once(':').is_some_and(|it| it.0.eq_ignore_ascii_case(name));
        self.lines.retain(|it| !of_name(it));
        self.lines.extend(value.map(|it| format!("{name}: {it}")));
        self
    }

    /// With this line more in its head.
    pub fn with_line(mut self, line: &str) -> Message {
        self.original = None;
        self.lines.push(line.into());
        self
    }

    /// With these bytes behind it on the same connection.
    pub fn followed_by(mut self, bytes: &[u8]) -> Message {
        self.extra = bytes.to_vec();
        self
    }

    /// With the end of the connection behind it, of which it does not tell.
    pub fn and_hang_up(self) -> Message {
        Message { hangs_up: true, ..self }
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// With its JSON body changed; anything else stays as it is.
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Message {
        if let Some(mut value) = self.json() {
            let before = value.clone();
            change(&mut value);
            if value != before {
                self.set_body(value.to_string().into_bytes());
            }
        }
        self
    }

    /// With the members of its JSON object changed; anything else stays as it is.
    pub fn members(self, change: impl FnOnce(&mut Map<String, Value>)) -> Message {
        self.edit(|it| {
            if let Some(members) = it.as_object_mut() {
                change(members);
            }
        })
    }

    /// With another body.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Message {
        self.set_body(body.into());
        self
    }

    fn set_body(&mut self, body: Vec<u8>) {
        let length = body.len().to_string();
        let changed = self.clone().with_field("Transfer-Encoding", None).with_field("Content-Length", Some(&length));
        *self = Message { body, ..changed };
    }

    /// What goes out.
    pub fn bytes(&self) -> Vec<u8> {
        let mut res = match &self.original {
            Some(bytes) => bytes.clone(),
            None if self.lines.is_empty() => Vec::new(),
            None => [format!("{}\r\n\r\n", self.lines.join("\r\n")).as_bytes(), &self.body].concat(),
        };
        res.extend_from_slice(&self.extra);
        res
    }

    /// Whether the connection ends with it.
    pub fn closes(&self) -> bool {
        self.hangs_up
            || self.lines.is_empty()
            || self.field("Connection").is_some_and(|it| it.eq_ignore_ascii_case("close"))
    }

    fn word(&self, number: usize) -> &str {
        self.lines.first().and_then(|it| it.split(' ').nth(number)).unwrap_or_default()
    }
}

/// What reading came to.
pub enum Read {
    /// A whole message and nothing behind it.
    Whole(Message),
    /// More bytes are needed; with the flag they are those of a body.
    More { in_body: bool },
    /// Nothing that the proxy understands.
    Strange,
}

/// The request that these bytes are, if they are one.
pub fn whole(bytes: &[u8]) -> Option<Message> {
    match read(bytes, true, false) {
        Read::Whole(message) => Some(message),
        _ => None,
    }
}

/// Reads one message. `without_body` says that none follows whatever the fields say.
pub fn read(bytes: &[u8], request: bool, without_body: bool) -> Read {
    let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else { return Read::More { in_body: false } };
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return Read::Strange };
    let lines: Vec<String> = head.split("\r\n").map(str::to_string).collect();
    let original = Some(bytes.to_vec());
    let message = Message { lines, body: Vec::new(), original, extra: Vec::new(), hangs_up: false };
    let rest = &bytes[end + 4..];
    let count = |name: &str| {
        let of_name = |it: &&String| it.split_once(':').is_some_and(|it| it.0.eq_ignore_ascii_case(name));
        message.lines.iter().skip(1).filter(of_name).count()
    };
    if request && (count("Host") != 1 || message.lines[0].split(' ').count() != 3 || message.field("Expect").is_some())
    {
        return Read::Strange;
    }
    let body = match (count("Content-Length"), count("Transfer-Encoding")) {
        _ if without_body => Some((Vec::new(), 0)),
        (0, 0) if request => Some((Vec::new(), 0)),
        (1, 0) => {
            let length = message.field("Content-Length").unwrap_or_default();
            let Some(length) = length.parse().ok().filter(|_| length.bytes().all(|it| it.is_ascii_digit())) else {
                return Read::Strange;
            };
            rest.get(..length).map(|it| (it.to_vec(), length))
        }
        (0, 1) if message.field("Transfer-Encoding") == Some("chunked") => match unchunked(rest) {
            Ok(it) => it,
            Err(()) => return Read::Strange,
        },
        _ => return Read::Strange,
    };
    match body {
        None => Read::More { in_body: true },
        Some((body, used)) if used == rest.len() => Read::Whole(Message { body, ..message }),
        Some(_) => Read::Strange,
    }
}

/// The data of a chunked body and the bytes that it took; nothing if more are needed.
fn unchunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ()> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = bytes[at..].windows(2).position(|it| it == b"\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[at..at + line]).map_err(|_| ())?;
        let size = usize::from_str_radix(text.split(';').next().unwrap_or_default(), 16).map_err(|_| ())?;
        at += line + 2;
        if size == 0 {
            // Trailers, if there are any, end like a head does.
            let end = bytes[at - 2..].windows(4).position(|it| it == b"\r\n\r\n");
            return Ok(end.map(|end| (data, at + end + 2)));
        }
        let Some(chunk) = at.checked_add(size).and_then(|end| bytes.get(at..end + 2)) else { return Ok(None) };
        if &chunk[size..] != b"\r\n" {
            return Err(());
        }
        data.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}
