//! Requests, made of the bytes that go out. It knows the form of HTTP, nothing of the API.

use serde_json::Value;

/// A request that is about to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method as it is sent, whatever it is.
    pub method: String,
    /// The path below the API's base, with its query: `/sys/time`. Without a leading slash it is sent as it is.
    pub path: String,
    /// Fields beside those that the client sets itself.
    pub headers: Vec<(String, String)>,
    /// The body, if one is sent.
    pub body: Option<Vec<u8>>,
    /// Whether the login's token goes with it.
    pub login: bool,
}

impl Request {
    /// A request without a body, with the login's token.
    pub fn new(method: &str, path: &str) -> Request {
        Request { method: method.into(), path: path.into(), headers: Vec::new(), body: None, login: true }
    }

    /// GET.
    pub fn get(path: &str) -> Request {
        Request::new("GET", path)
    }

    /// POST of a JSON value.
    pub fn post(path: &str, body: &Value) -> Request {
        Request::new("POST", path).header("Content-Type", "application/json").body(body.to_string())
    }

    /// POST of any bytes.
    pub fn post_bytes(path: &str, body: impl Into<Vec<u8>>) -> Request {
        Request::new("POST", path).header("Content-Type", "application/json").body(body)
    }

    /// With one more field.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = Some(body.into());
        self
    }

    /// Without the login's token.
    pub fn anonymous(mut self) -> Request {
        self.login = false;
        self
    }

    /// Without the login's token, but with this one.
    pub fn token(self, token: &str) -> Request {
        self.anonymous().header("Authorization", &format!("Bearer {token}"))
    }

    /// What goes out: `base` stands in front of the path, `token` is the login's. Fields that were given are never sent a
    /// second time.
    pub fn bytes(&self, host: &str, base: &str, token: Option<&str>) -> Vec<u8> {
        let given = |name: &str| self.headers.iter().any(|it| it.0.eq_ignore_ascii_case(name));
        let target = if self.path.starts_with('/') { format!("{base}{}", self.path) } else { self.path.clone() };
        let mut head = format!("{} {target} HTTP/1.1\r\n", self.method);
        let mut field = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        if !given("Host") {
            field("Host", host);
        }
        if let (true, false, Some(token)) = (self.login, given("Authorization"), token) {
            field("Authorization", &format!("Bearer {token}"));
        }
        if !given("Connection") {
            field("Connection", "close");
        }
        for (name, value) in &self.headers {
            field(name, value);
        }
        if !given("Content-Length") && !given("Transfer-Encoding") && (self.body.is_some() || self.method == "POST") {
            field("Content-Length", &self.body.as_ref().map_or(0, Vec::len).to_string());
        }
        let mut res = head.into_bytes();
        res.extend_from_slice(b"\r\n");
        res.extend_from_slice(self.body.as_deref().unwrap_or_default());
        res
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_replaces_what_would_be_sent() {
        let plain = Request::post("/cmd/clear", &Value::from("web_cache")).bytes("m:80", "/api", Some("T"));
        let plain = String::from_utf8(plain).unwrap();
        assert!(
            plain.starts_with("POST /api/cmd/clear HTTP/1.1\r\nHost: m:80\r\nAuthorization: Bearer T\r\n"),
            "{plain}"
        );
        assert!(plain.ends_with("Content-Length: 11\r\n\r\n\"web_cache\""), "{plain}");
        let own = Request::get("/x").header("host", "other").token("U").bytes("m", "/api", Some("T"));
        let own = String::from_utf8(own).unwrap();
        assert!(own.matches("ost: ").count() == 1 && own.contains("Bearer U") && !own.contains("Bearer T"), "{own}");
        let get = Request::new("POST", "/cmd/reboot").bytes("m", "/api", None);
        assert!(String::from_utf8(get).unwrap().ends_with("Content-Length: 0\r\n\r\n"));
    }
}
