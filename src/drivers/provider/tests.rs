//! The course against providers that play a part, over plain HTTP on loopback; real TLS is in `tests/counterparts`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::activate::{Errand, activate};
use super::{Failure, Service, end, name};
use crate::config::{Config, Provider, Providers};
use crate::drivers::Watch;
use crate::drivers::reach::testing::{AT_ONCE, Person, bench, http, server};
use crate::platform::Platform;
use crate::sys::random;
use serde_json::Value;

/// A state folder and an errand.
struct Place {
    dir: PathBuf,
    errand: Errand,
    decrypt: Option<Vec<String>>,
}

impl Place {
    fn new(control: String) -> Place {
        let dir = std::env::temp_dir().join(format!("meterd-provider-{}", random::name()));
        fs::create_dir(&dir).unwrap();
        // What the meter's key would make of the challenge: here, its digits turned round.
        let decrypt = ["/bin/sh", "-c", "rev | tr a-f A-F"].map(String::from).to_vec();
        let errand = Errand {
            service: Service::Push,
            provider: Provider { name: "Cloudly".into(), control },
            name: "meter".into(),
            serial: "0001".into(),
            options: vec!["json".into()],
        };
        Place { dir, errand, decrypt: Some(decrypt) }
    }

    fn run(&self) -> Result<String, Failure> {
        self.activate(&Person::default()).map(|it| it.to_string())
    }

    fn activate(&self, watch: &dyn Watch) -> Result<Value, Failure> {
        let providers = Providers { decrypt: self.decrypt.clone(), ..Providers::default() };
        let platform = Platform::in_one_process(&Config { providers, ..Config::default() });
        activate(&self.errand, &bench(), &platform, &self.dir, watch)
    }

    fn active(&self) -> Option<String> {
        name(&self.dir, Service::Push).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn says(reply: impl Fn(&str) -> String + Send + 'static) -> Place {
    Place::new(format!("http://{}/control", http(reply)))
}

#[test]
fn a_service_is_activated_kept_and_ended() {
    let place = says(|request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /control HTTP/1.1"), "{head}");
        match body {
            r#"{"name":"meter","opts":["json"],"sn":"0001"}"# => answer(r#"{"nnc":"00ab","rid":7}"#),
            proof => {
                let proof: serde_json::Value = serde_json::from_str(proof).unwrap();
                let clear = super::handshake::proof(b"ba00", proof["cnnc"].as_str().unwrap(), 7);
                assert_eq!(serde_json::from_slice::<serde_json::Value>(&clear).unwrap(), proof);
                answer(
                    r#"{"url":"https://push.test/1","options":"json","user":"u","pw":"geheim","signup":"https://s/"}"#,
                )
            }
        }
    });
    assert_eq!(place.active(), None);
    assert_eq!(place.run().unwrap(), r#"{"activated":true,"signup":"https://s/"}"#);
    assert_eq!(place.active().as_deref(), Some("Cloudly"));
    assert_eq!(name(&place.dir, Service::Alert).unwrap(), None);
    let path = place.dir.join("service-push.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((kept["url"].as_str(), kept["pw"].as_str()), (Some("https://push.test/1"), Some("geheim")));
    end(&place.dir, Service::Push).unwrap();
    end(&place.dir, Service::Push).unwrap();
    assert_eq!((place.active(), fs::read_dir(&place.dir).unwrap().count()), (None, 0));
}

#[track_caller]
fn check(place: Place, tag: &str, expect: &str) {
    let failure = place.run().unwrap_err();
    assert!(
        failure.to_string().contains(expect) && failure.tag() == tag,
        "{} {failure}\nexpected {expect}",
        failure.tag()
    );
    assert_eq!(place.active(), None);
}

#[test]
fn every_other_end_leaves_things_as_they_were() {
    check(says(|_| answer(r#"{"error":"Unknown meter."}"#)), "SRV", "Cloudly refuses: Unknown meter.");
    check(says(|_| answer("[]")), "SRV", "no JSON object");
    check(says(|_| answer(r#"{"nnc":"00","rid":1}"#)), "SRV", "a second challenge");
    check(says(|_| "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".into()), "SRV", "HTTP status 503");
    check(says(|_| "HTTP/1.1 418 Tea\r\nContent-Length: 0\r\n\r\n".into()), "SRV", "HTTP status 418");
    check(says(|_| "HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n".into()), "SRV", "longer than 65536 bytes");
    check(says(|_| "HTTP/1.1 302 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".into()), "SRV", "only HTTPS");
    check(Place::new("http://192.0.2.1/".into()), "SRV", "only HTTPS");
    check(Place::new("https://169.254.1.1/".into()), "SRV", "link-local");
    let challenge = || says(|_| answer(r#"{"nnc":"00ab","rid":7}"#));
    let with = |script: Option<&str>| {
        let mut place = challenge();
        place.decrypt = script.map(|it| ["/bin/sh", "-c", it].map(String::from).to_vec());
        place
    };
    check(with(None), "PUSH", "providers.decrypt is missing");
    check(with(Some("echo no key >&2; exit 1")), "PUSH", "no key");
    check(with(Some("echo geheim")), "PUSH", "printed no hexadecimal digits");
    let unwritable = says(|_| answer(r#"{"url":"https://push.test/"}"#));
    fs::create_dir(unwritable.dir.join("service-push.new")).unwrap();
    let failure = unwritable.run().unwrap_err();
    assert!(failure.tag() == "PUSH" && failure.to_string().contains("cannot be stored"), "{failure}");
}

#[test]
fn it_can_be_cancelled_while_others_are_slow() {
    let silent = server(std::mem::forget);
    let slow_key = {
        let mut place = says(|_| answer(r#"{"nnc":"00ab","rid":7}"#));
        place.decrypt = Some(["/bin/sleep", "60"].map(String::from).to_vec());
        place
    };
    for place in [Place::new(format!("http://{silent}/")), slow_key] {
        let person = Person::default();
        let (res, late) = person.cancel(|look| place.activate(look.watch));
        assert!(res.as_ref().is_err_and(Failure::is_cancelled) && late < AT_ONCE, "{res:?} {late:?}");
        assert_eq!(place.active(), None);
    }
}
