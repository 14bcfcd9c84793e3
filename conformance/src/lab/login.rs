//! Logging in, and the login that most requests are sent with. What a login owes is not known here.

use std::time::{Duration, Instant};

use super::{Lab, Stop};
use crate::areas::number;
use crate::danger::classes_of;
use crate::http::Request;
use crate::session::{Credentials, payload};

/// A login is renewed so long before its end.
const MARGIN: Duration = Duration::from_secs(30);

impl Lab<'_> {
    /// The token of a login that is good for a while yet.
    pub fn login(&mut self) -> Result<String, Stop> {
        if let Some((token, until)) = &self.token
            && Instant::now() + MARGIN < *until
        {
            return Ok(token.clone());
        }
        let credentials = self.options.credentials.clone().ok_or_else(|| Stop::Skip("needs --user".into()))?;
        let token = self.login_as(&credentials, "login")?;
        let lifetime = payload(&token).and_then(|it| number(&it["ltm"])).unwrap_or(600.0).clamp(60.0, 86400.0);
        self.token = Some((token.clone(), Instant::now() + Duration::from_secs_f64(lifetime)));
        Ok(token)
    }

    /// The login ended, by logging out, a restart or a change of user.
    pub fn forget_login(&mut self) {
        self.token = None;
    }

    /// The token of a new login of this user; recorded as `label/challenge` and `label/answer`.
    pub fn login_as(&mut self, credentials: &Credentials, label: &str) -> Result<String, Stop> {
        let (realm, nonce) = self.challenge(label)?;
        let body = credentials.answer(&realm, &nonce, &self.random(32));
        let answer = self.send(&format!("{label}/answer"), &Request::post("/auth/login", &body).anonymous())?;
        let token = answer.object().ok().and_then(|it| it.get("jwt")?.as_str().map(str::to_string));
        let token =
            token.ok_or_else(|| Stop::Skip(format!("no login as {}: {}", credentials.user, answer.answer_text())))?;
        harmless(&token)?;
        Ok(token)
    }

    /// Realm and nonce of a new challenge; recorded as `label/challenge`.
    pub fn challenge(&mut self, label: &str) -> Result<(String, String), Stop> {
        let challenge = Request::get("/auth/unauthorized").anonymous();
        let challenge = self.send(&format!("{label}/challenge"), &challenge)?;
        let member = |name: &str| challenge.object().ok()?.get(name)?.as_str().map(str::to_string);
        match (member("rlm"), member("nnc")) {
            (Some(realm), Some(nonce)) => Ok((realm, nonce)),
            _ => Err(Stop::Skip(format!("no login: the challenge was {}", challenge.answer_text()))),
        }
    }
}

/// Ends the area if a word of the meter's could be read as a command once it stands in a request: the guard would take that
/// for a mistake of this program.
pub fn harmless(token: &str) -> Result<(), Stop> {
    match classes_of(token.as_bytes()).is_empty() {
        true => Ok(()),
        false => Err(Stop::Skip("what the meter gave reads like a command, so it is not sent".into())),
    }
}
