//! What to try next: from the place where a delivery failed and the server's words to one sentence for a technician.
//! It is a guess and says so; the log above it has the facts.

use super::reply::Reply;
use super::session::{Lack, Step, Trouble};
use crate::drivers::reach::{ReachError, Stop, TlsFault};

/// What was tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    /// Through a smarthost.
    pub(super) smarthost: bool,
    /// With user and password.
    pub(super) login: bool,
    /// The port of the last server.
    pub(super) port: u16,
}

/// The likely remedy, as a sentence; nothing if nobody needs one.
pub(super) fn remedy(trouble: &Trouble, tried: Tried) -> Option<String> {
    Some(match trouble {
        Trouble::Way(_, ReachError::Stopped(Stop::Cancelled)) => return None,
        Trouble::Way(step, err) => way(*step, err, tried),
        Trouble::Said(step, reply) => said(*step, reply, tried),
        Trouble::Nonsense(Step::Greeting, _) => wrong_port(tried),
        Trouble::Nonsense(..) => "this server does not follow the rules of mail; use another smarthost.".into(),
        Trouble::Injected => "somebody between meter and server may be tampering; use port 465.".into(),
        Trouble::Lacks(Lack::Tls) if tried.port == 25 => {
            "use the provider's submission port (587 or 465), which has TLS; port 25 is for mail between servers."
                .into()
        }
        Trouble::Lacks(Lack::Tls) => {
            "use a port with TLS (465 or 587); only if the way to the server is your own, set mail.plain_auth.".into()
        }
        Trouble::Lacks(Lack::Auth) => {
            "leave mailuser and mailpass out if the server takes mail without, or use its submission port 587 or 465."
                .into()
        }
        Trouble::Lacks(Lack::Mechanism(_)) => {
            "the meter can do PLAIN, LOGIN and CRAM-MD5; switch one of them on at the server, often as an app password."
                .into()
        }
        Trouble::Lacks(Lack::Utf8) => "use an address of ASCII letters, or another server.".into(),
    })
}

fn way(step: Step, err: &ReachError, tried: Tried) -> String {
    match err {
        ReachError::Stopped(_) => late(step, tried),
        ReachError::Forbidden { .. } => "check the address; a target inside needs allow_targets in the config.".into(),
        ReachError::NoSuchHost(_) if tried.smarthost => "check the spelling of the smarthost.".into(),
        ReachError::NoSuchHost(_) => "check the spelling of the address behind the @.".into(),
        ReachError::NoAddress(_) if tried.smarthost => {
            "check the smarthost's name; it has no address in the DNS.".into()
        }
        ReachError::NoAddress(_) => "check the address behind the @; its mail server has no address in the DNS.".into(),
        ReachError::NullMx(_) => "use another address; this domain takes no mail at all.".into(),
        ReachError::Dns(..) => "check the meter's name servers (/etc/resolv.conf) and its way to the network.".into(),
        ReachError::Refused(_) if tried.smarthost => {
            format!("check host and port: no mail server listens on port {} there.", tried.port)
        }
        ReachError::Refused(_) | ReachError::Timeout(_) | ReachError::Unreachable(..) if !tried.smarthost => {
            BLOCKED.into()
        }
        ReachError::Timeout(_) => {
            format!("check host and port {}, and whether a firewall blocks it on the way.", tried.port)
        }
        ReachError::Unreachable(..) => "check the meter's network: its address, gateway and cable.".into(),
        ReachError::Tls(fault) => tls(fault, tried),
        ReachError::Closed if step == Step::Greeting => match tried.port {
            465 => "check the port: the server may not want TLS from the first byte, as port 587 does.".into(),
            _ => "the server hung up on the meter: it may block this network, or want TLS from the first byte (465)."
                .into(),
        },
        ReachError::Closed if step == Step::Handshake => "check the port, or whether the server's TLS works.".into(),
        ReachError::Closed if step == Step::Content => UNKNOWN.into(),
        ReachError::Closed => "the server hung up; try again, and look into its log if it does so again.".into(),
        _ => "check the meter's network and try again.".into(),
    }
}

const BLOCKED: &str = "many networks block port 25; use a smarthost of the mail or internet provider.";
const UNKNOWN: &str = "the mail may have arrived all the same: look into the mailbox before trying again.";
const PASSWORD: &str = "wrong user or password; many providers want the whole address as user, or an app password.";

fn late(step: Step, tried: Tried) -> String {
    match step {
        Step::Lookup => "check the meter's name servers (/etc/resolv.conf) and its way to the network.".into(),
        Step::Connect if !tried.smarthost => BLOCKED.into(),
        Step::Connect => format!("check host and port {}, and whether a firewall blocks it on the way.", tried.port),
        Step::Greeting | Step::Handshake => wrong_port(tried),
        Step::Content => UNKNOWN.into(),
        _ => "the server stopped answering; try again later or use another one.".into(),
    }
}

fn wrong_port(tried: Tried) -> String {
    match tried.port {
        465 => "check the port: this one does not speak TLS from the first byte; try 587.".into(),
        port => {
            format!("check the port: {port} does not greet as a mail server; try 587 or 465 (TLS from the first byte).")
        }
    }
}

fn tls(fault: &TlsFault, tried: Tried) -> String {
    match fault {
        TlsFault::Expired => {
            "the server's certificate has expired: check the meter's clock first, then renew the certificate.".into()
        }
        TlsFault::NotYetValid => {
            "the server's certificate is not valid yet: check the meter's clock first, then the certificate.".into()
        }
        TlsFault::WrongName(_) => {
            "give the smarthost by the name that is in its certificate (TLS name mismatch).".into()
        }
        TlsFault::UnknownIssuer => {
            "nobody known vouches for the server's certificate: if its issuer is your own authority, add that to \
             tls.ca_file."
                .into()
        }
        TlsFault::SelfSigned => {
            "the server's certificate is self-signed: if the server is yours, add the certificate to tls.ca_file."
                .into()
        }
        TlsFault::Authority => {
            "the server's certificate is an authority's, as openssl makes self-signed ones: make it one that is none \
             (CA:FALSE), and add that to tls.ca_file."
                .into()
        }
        TlsFault::NotTls => wrong_port(tried),
        TlsFault::BadName(_) => "give the smarthost by its name.".into(),
        TlsFault::Roots(_) => "repair tls.ca_file in the meter's configuration.".into(),
        TlsFault::Incompatible(_) | TlsFault::Alert(_) => "the server must offer TLS 1.2 or 1.3.".into(),
        TlsFault::Certificate(_) | TlsFault::Other(_) => "look into the server's certificate and its log.".into(),
    }
}

fn said(step: Step, reply: &Reply, tried: Tried) -> String {
    let text = reply.text().to_lowercase();
    let has = |words: &[&str]| words.iter().any(|it| text.contains(it));
    let enhanced = reply.enhanced();
    // What the words say comes first, since codes are used loosely.
    if step <= Step::Rcpt && step != Step::Auth && has(&["block", "blacklist", "spamhaus", "dynamic", "reputation"])
        || step < Step::Auth && has(&["listed"])
    {
        return "the server takes nothing from this network; use a smarthost of the mail or internet provider.".into();
    }
    if has(&["greylist", "graylist", "greylisted", "try again in", "come back later"]) && reply.is_transient() {
        return "greylisted: the server wants the same mail again a few minutes later; repeat the test then.".into();
    }
    match step {
        Step::Auth if reply.code == 454 || reply.is_transient() => {
            "the server cannot check logins now; try later.".into()
        }
        Step::Auth if reply.code == 534 || enhanced == Some((7, 9)) => {
            "this account must log in another way: make an app password at the provider.".into()
        }
        Step::Auth if reply.code == 538 => {
            "the server wants TLS before a login and does not offer it here; use port 465 or 587.".into()
        }
        Step::Auth if reply.code == 504 || enhanced == Some((7, 139)) => {
            "the provider has turned this kind of login off; allow SMTP with a password there, or use another smarthost."
                .into()
        }
        Step::Auth => PASSWORD.into(),
        Step::StartTls => "the server's TLS does not work now; try later or port 465.".into(),
        Step::Greeting | Step::Hello if reply.is_transient() => "the server is busy; try again later.".into(),
        Step::Greeting => "the server does not talk to this network; use another smarthost.".into(),
        Step::Hello => {
            "the server dislikes the meter's name; set identity.hostname to a full name such as m1.example.org.".into()
        }
        _ => refusal(step, reply, tried, &has),
    }
}

fn refusal(step: Step, reply: &Reply, tried: Tried, has: &dyn Fn(&[&str]) -> bool) -> String {
    // However they put it, a server that speaks of authentication to somebody who has not logged in wants just that,
    // unless it is the sender's domain that lacks it (SPF, DKIM; RFC 7372).
    let of_domain = matches!(reply.enhanced(), Some((7, 20..=26))) || has(&["spf", "dkim", "dmarc"]);
    if of_domain && !reply.is_transient() {
        return "the sender's domain does not vouch for this mail (SPF, DKIM); set fromaddr to an address of a domain that \
                does, or use a smarthost."
            .into();
    }
    let wants_login = !tried.login && step != Step::Content && has(&["authenticat", "log in", "login"]);
    if reply.code == 530 && has(&["starttls", "tls"]) && !wants_login {
        return "the server wants TLS first and does not offer it here; use port 465 or 587.".into();
    }
    let relay = has(&["relay", "access denied", "relaying", "not permitted to send", "not local", "we do not"]);
    if reply.code == 530 || wants_login || relay && step == Step::Rcpt {
        return match (tried.smarthost, tried.login) {
            (true, false) => "relay denied: this server wants user and password; give mailuser and mailpass.".into(),
            (true, true) => "relay denied: this account may not send to that address, or not from that sender.".into(),
            (false, _) => "relay denied: this server takes no mail for that domain; check the address.".into(),
        };
    }
    if reply.code == 552 || matches!(reply.enhanced(), Some((3, 4))) {
        return match reply.enhanced() {
            Some((2, 2)) => "the mailbox is full.".into(),
            _ => "the server takes only smaller mails; use another one.".into(),
        };
    }
    let sender = step == Step::Mail || has(&["sender", "fromaddr", "spf", "dmarc"]);
    if sender && !reply.is_transient() {
        return "the server refuses this sender; set fromaddr to an address of the account or of a real domain.".into();
    }
    match step {
        Step::Rcpt if reply.is_transient() => {
            "the server refuses for now, perhaps by greylisting; repeat the test in some minutes.".into()
        }
        _ if reply.is_transient() => "the server cannot take it now; try again later.".into(),
        Step::Rcpt if matches!(reply.enhanced(), Some((7, _))) => {
            "the server's policy forbids it; see its text above, and try a smarthost of the provider.".into()
        }
        Step::Rcpt => "check the spelling of the address: the server knows no such mailbox.".into(),
        _ => "the server took it for unwanted mail; set fromaddr to an address of the account or of a real domain."
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMARTHOST: Tried = Tried { smarthost: true, login: true, port: 587 };
    const OPEN: Tried = Tried { smarthost: true, login: false, port: 587 };
    const DIRECT: Tried = Tried { smarthost: false, login: false, port: 25 };

    #[track_caller]
    fn check(step: Step, tried: Tried, code: u16, text: &str, expect: &str) {
        let got = remedy(&Trouble::Said(step, Reply { code, lines: vec![text.into()] }), tried).unwrap();
        assert!(got.contains(expect), "{code} {text}: {got}\nexpected {expect}");
    }

    #[test]
    fn the_words_of_real_servers_lead_to_remedies() {
        use Step::{Auth, Content, Greeting, Mail, Rcpt};
        check(
            Auth,
            SMARTHOST,
            535,
            "5.7.8 Error: authentication failed: authentication failure",
            "wrong user or password",
        );
        check(Auth, SMARTHOST, 535, "Incorrect authentication data", "wrong user or password");
        check(Auth, SMARTHOST, 535, "5.7.139 Authentication unsuccessful, basic authentication is disabled.", "turned");
        check(Auth, SMARTHOST, 504, "5.7.4 Unrecognized authentication type", "turned this kind of login off");
        check(Auth, SMARTHOST, 538, "5.7.11 Encryption required", "wants TLS before a login");
        let spf = "5.7.26 Your email has been blocked because the sender is unauthenticated. SPF did not pass";
        check(Content, OPEN, 550, spf, "does not vouch");
        check(Content, DIRECT, 550, "5.7.26 This mail is unauthenticated", "does not vouch");
        check(Rcpt, DIRECT, 550, "5.7.1 Client host [x] blocked using zen.spamhaus.org", "takes nothing from this net");
        check(Auth, SMARTHOST, 534, "5.7.9 Application-specific password required.", "app password");
        check(Auth, SMARTHOST, 454, "4.7.0 Temporary authentication failure", "try later");
        check(Rcpt, OPEN, 554, "5.7.1 <a@b>: Relay access denied", "give mailuser and mailpass");
        check(Rcpt, OPEN, 554, "5.7.1 <a@b>: Recipient address rejected: Access denied", "give mailuser and mailpass");
        check(Rcpt, SMARTHOST, 554, "5.7.1 <a@b>: Relay access denied", "may not send to that address");
        check(Rcpt, DIRECT, 550, "relay not permitted", "check the address");
        check(Rcpt, OPEN, 550, "5.7.9 user not authenticated", "give mailuser and mailpass");
        check(Mail, OPEN, 530, "5.7.0 Authentication required", "give mailuser and mailpass");
        check(Mail, OPEN, 550, "5.7.9 Mail to submission port must be authenticated", "give mailuser and mailpass");
        check(Mail, OPEN, 530, "5.7.0 Must issue a STARTTLS command first", "wants TLS first");
        check(Rcpt, DIRECT, 450, "4.2.0 <a@b>: Recipient address rejected: Greylisted, see http://x", "greylisted");
        check(Rcpt, DIRECT, 451, "4.7.1 Please try again later", "greylisting");
        check(Rcpt, DIRECT, 550, "5.1.1 <a@b>: Recipient address rejected: User unknown", "spelling of the address");
        check(Mail, DIRECT, 553, "5.1.8 <x>: Sender address rejected: Domain not found", "set fromaddr");
        check(Rcpt, OPEN, 554, "5.7.1 Sender address rejected: not owned by user", "set fromaddr");
        check(
            Greeting,
            DIRECT,
            554,
            "5.7.1 Service unavailable; client host blocked using zen.spamhaus.org",
            "this network",
        );
        check(Greeting, DIRECT, 421, "too many connections", "busy");
        check(Content, OPEN, 552, "5.3.4 Message size exceeds fixed limit", "smaller");
        check(Rcpt, OPEN, 552, "5.2.2 Mailbox full", "full");
        check(Content, DIRECT, 550, "5.7.1 looks like spam", "unwanted");
        check(Content, OPEN, 451, "4.3.0 queue file write error", "later");
    }

    #[test]
    fn the_way_to_the_server_has_its_own_remedies() {
        let addr = "192.0.2.1:25".parse().unwrap();
        let cases = [
            (Step::Connect, DIRECT, ReachError::Timeout(addr), "block port 25"),
            (Step::Connect, SMARTHOST, ReachError::Timeout(addr), "firewall"),
            (Step::Connect, SMARTHOST, ReachError::Refused(addr), "port 587"),
            (Step::Connect, DIRECT, ReachError::Stopped(Stop::Late), "block port 25"),
            (Step::Greeting, SMARTHOST, ReachError::Stopped(Stop::Late), "587 or 465"),
            (Step::Content, SMARTHOST, ReachError::Closed, "may have arrived"),
            (Step::Lookup, DIRECT, ReachError::NullMx("x".into()), "takes no mail"),
            (Step::Lookup, DIRECT, ReachError::NoSuchHost("x".into()), "behind the @"),
            (Step::Connect, SMARTHOST, ReachError::NoSuchHost("x".into()), "smarthost"),
            (Step::Handshake, SMARTHOST, ReachError::Tls(TlsFault::WrongName("x".into())), "name mismatch"),
            (Step::Handshake, SMARTHOST, ReachError::Tls(TlsFault::UnknownIssuer), "tls.ca_file"),
            (Step::Handshake, SMARTHOST, ReachError::Tls(TlsFault::SelfSigned), "self-signed: if"),
            (Step::Handshake, SMARTHOST, ReachError::Tls(TlsFault::Authority), "CA:FALSE"),
            (Step::Handshake, SMARTHOST, ReachError::Tls(TlsFault::Expired), "has expired: check the meter's clock"),
            (Step::Handshake, SMARTHOST, ReachError::Tls(TlsFault::NotYetValid), "not valid yet: check"),
        ];
        for (step, tried, err, expect) in cases {
            let got = remedy(&Trouble::Way(step, err), tried).unwrap();
            assert!(got.contains(expect), "{step:?}: {got}\nexpected {expect}");
        }
        let cancelled = Trouble::Way(Step::Connect, ReachError::Stopped(Stop::Cancelled));
        assert_eq!(remedy(&cancelled, DIRECT), None);
    }

    #[test]
    fn what_a_server_lacks_is_named() {
        let lacks = |lack, tried| remedy(&Trouble::Lacks(lack), tried).unwrap();
        assert!(lacks(Lack::Tls, SMARTHOST).contains("mail.plain_auth"));
        assert!(lacks(Lack::Tls, Tried { port: 25, ..SMARTHOST }).contains("submission port"));
        assert!(lacks(Lack::Auth, SMARTHOST).contains("mailuser"));
        assert!(lacks(Lack::Mechanism("GSSAPI".into()), SMARTHOST).contains("CRAM-MD5"));
        assert!(lacks(Lack::Utf8, DIRECT).contains("ASCII"));
    }
}
