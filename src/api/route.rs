//! The router, on one screen: which resource a path names, its one method, and the right it needs.

use crate::auth::Rights;
use crate::drivers::provider::Service;

/// What a request is about. Path members that select within a resource stay with [`Found::rest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `POST /auth/login`
    Login,
    /// `GET /auth/logout`
    Logout,
    /// `GET /auth/rights`
    Rights,
    /// `GET /auth/unauthorized`
    Unauthorized,
    /// `POST /cmd/activate`
    Activate,
    /// `POST /cmd/cancel`
    Cancel,
    /// `POST /cmd/clear`
    Clear,
    /// `POST /cmd/db`
    Db,
    /// `POST /cmd/factory-restore`
    FactoryRestore,
    /// `POST /cmd/homeplug`
    Homeplug,
    /// `POST /cmd/reboot`
    Reboot,
    /// `POST /cmd/set-time`
    SetTime,
    /// `POST /cmd/test-remote`
    TestRemote,
    /// `POST /cmd/test-email`
    TestEmail,
    /// `POST /cmd/update`
    Update,
    /// `POST /cmd/wlan`
    Wlan,
    /// `GET` and `DELETE /config/alert/reporter/web/service`, `/config/push/service`
    Service(Service),
    /// `GET /config/net/hostname`
    Hostname,
    /// `GET /openapi.json`, beyond the WebAPI
    Description,
    /// `GET /providers/alert`, `/providers/push`
    Providers(Service),
    /// `GET /register`
    Register,
    /// `GET /sys/status`: always empty, only somebody who knows a token may look.
    StatusRoot,
    /// `GET /sys/status/{token}` and its members
    Status,
    /// `GET /sys/boot`
    Boot,
    /// `GET /sys/db`
    SysDb,
    /// `GET /sys/ledger`, beyond the WebAPI
    Ledger,
    /// `GET /sys/model`
    Model,
    /// `GET /sys/net/wlan`
    SysWlan,
    /// `GET /sys/reboot`
    RebootNeeded,
    /// `GET /sys/sn`
    Serial,
    /// `GET /sys/time`
    Time,
    /// `GET /sys/uptime`
    Uptime,
    /// `GET /sys/version`
    Version,
}

impl Resource {
    /// The name of a command of `/cmd`.
    pub fn command(self) -> Option<&'static str> {
        Some(match self {
            Resource::Activate => "activate",
            Resource::Cancel => "cancel",
            Resource::Clear => "clear",
            Resource::Db => "db",
            Resource::FactoryRestore => "factory-restore",
            Resource::Homeplug => "homeplug",
            Resource::Reboot => "reboot",
            Resource::SetTime => "set-time",
            Resource::TestRemote => "test-remote",
            Resource::TestEmail => "test-email",
            Resource::Update => "update",
            Resource::Wlan => "wlan",
            _ => return None,
        })
    }
}

/// What the caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: no login.
    Nobody,
    /// A valid token, whatever its rights.
    Login,
    /// To view settings, or to save them.
    View,
    /// To save settings.
    Save,
}

impl Need {
    /// Whether `rights` are enough; for [`Need::Nobody`] there need not be any.
    pub fn met_by(self, rights: Option<&Rights>) -> bool {
        match (self, rights) {
            (Need::Nobody, _) => true,
            (_, None) => false,
            (Need::Login, Some(_)) => true,
            (Need::View, Some(rights)) => rights.view || rights.save,
            (Need::Save, Some(rights)) => rights.save,
        }
    }
}

/// Where a path leads.
#[derive(Debug, PartialEq)]
pub struct Found<'a> {
    /// The resource.
    pub resource: Resource,
    /// The only method it has, or all of them with commas between, as in `Allow`.
    pub methods: &'static str,
    /// The right that its first method needs.
    pub need: Need,
    /// Members of the resource that the path goes on to name.
    pub rest: Vec<&'a str>,
}

impl Found<'_> {
    /// The right that `method` needs; nothing if the resource has no such method.
    pub fn need_of(&self, method: &str) -> Option<Need> {
        match self.methods.split(", ").position(|it| it == method)? {
            0 => Some(self.need),
            // A second method is one that changes what the first one shows.
            _ => Some(Need::Save),
        }
    }
}

/// A line of the router.
pub(super) struct Route {
    /// The path; behind a last `/*` any members of the resource may be named, or none.
    pub(super) path: &'static str,
    /// The resource.
    pub(super) resource: Resource,
    /// As in [`Found`].
    pub(super) methods: &'static str,
    /// As in [`Found`].
    pub(super) need: Need,
}

/// All resources; the first line that fits a path counts.
#[rustfmt::skip] // One line each.
pub(super) const ROUTES: &[Route] = {
    use Need::{Login, Nobody, Save, View};
    use Resource as It;
    use Service::{Alert, Push};
    const fn at(path: &'static str, resource: Resource, methods: &'static str, need: Need) -> Route {
        Route { path, resource, methods, need }
    }
    &[
        at("/auth/login", It::Login, "POST", Nobody),
        at("/auth/logout", It::Logout, "GET", Login),
        at("/auth/rights", It::Rights, "GET", Login),
        at("/auth/unauthorized", It::Unauthorized, "GET", Login),
        at("/cmd/activate", It::Activate, "POST", Save),
        at("/cmd/cancel", It::Cancel, "POST", Save),
        at("/cmd/clear", It::Clear, "POST", Save),
        at("/cmd/db", It::Db, "POST", Save),
        at("/cmd/factory-restore", It::FactoryRestore, "POST", Save),
        at("/cmd/homeplug", It::Homeplug, "POST", Save),
        at("/cmd/reboot", It::Reboot, "POST", Save),
        at("/cmd/set-time", It::SetTime, "POST", Save),
        at("/cmd/test-email", It::TestEmail, "POST", Save),
        at("/cmd/test-remote", It::TestRemote, "POST", Save),
        at("/cmd/update", It::Update, "POST", Save),
        at("/cmd/wlan", It::Wlan, "POST", Save),
        at("/config/alert/reporter/web/service", It::Service(Alert), "GET, DELETE", View),
        at("/config/net/hostname", It::Hostname, "GET", View),
        at("/config/push/service", It::Service(Push), "GET, DELETE", View),
        at("/openapi.json", It::Description, "GET", Nobody),
        at("/providers/alert", It::Providers(Alert), "GET", View),
        at("/providers/push", It::Providers(Push), "GET", View),
        at("/register", It::Register, "GET", View),
        at("/sys/boot/*", It::Boot, "GET", View),
        at("/sys/db/*", It::SysDb, "GET", View),
        at("/sys/ledger/*", It::Ledger, "GET", Save),
        at("/sys/model", It::Model, "GET", View),
        at("/sys/net/wlan/*", It::SysWlan, "GET", View),
        at("/sys/reboot", It::RebootNeeded, "GET", View),
        at("/sys/sn", It::Serial, "GET", View),
        at("/sys/status", It::StatusRoot, "GET", View),
        at("/sys/status/*", It::Status, "GET", Login),
        at("/sys/time", It::Time, "GET", View),
        at("/sys/uptime", It::Uptime, "GET", View),
        at("/sys/version/*", It::Version, "GET", View),
    ]
};

impl Route {
    /// The members that `path` names behind this resource, if it leads here.
    fn rest<'a>(&self, path: &'a str) -> Option<Vec<&'a str>> {
        let Some(stem) = self.path.strip_suffix("/*") else {
            return (path == self.path).then(Vec::new);
        };
        let below = path.strip_prefix(stem)?;
        let rest: Vec<&str> = match below.strip_prefix('/') {
            Some(members) => members.split('/').collect(),
            None if below.is_empty() => Vec::new(),
            None => return None,
        };
        // An empty member is a doubled or trailing slash, which names nothing.
        (!rest.contains(&"")).then_some(rest)
    }
}

/// Finds the resource of a path, with or without `/api` in front.
pub fn find(path: &str) -> Option<Found<'_>> {
    let path = path.strip_prefix("/api").filter(|it| it.starts_with('/')).unwrap_or(path);
    ROUTES.iter().find_map(|it| {
        let rest = it.rest(path)?;
        Some(Found { resource: it.resource, methods: it.methods, need: it.need, rest })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_works_with_and_without_api() {
        for path in ["/auth/login", "/cmd/db", "/sys/status/00/args/0", "/sys/db/level/0/head", "/register"] {
            let plain = find(path).unwrap();
            let below = format!("/api{path}");
            assert_eq!(find(&below), Some(plain));
        }
    }

    #[test]
    fn unknown_paths_lead_nowhere() {
        for path in
            ["", "/", "/api", "/api/api/register", "/cmd", "/cmd/remote", "/cmd/db/", "/sys/status/", "/sys//db", "x"]
        {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn rights_decide_by_one_table() {
        let rights = |save, ctrl, view| Some(Rights { save, ctrl, view });
        let cases = [
            // (rights, nobody, login, view, save)
            (None, [true, false, false, false]),
            (rights(false, false, false), [true, true, false, false]),
            (rights(false, true, false), [true, true, false, false]),
            (rights(false, false, true), [true, true, true, false]),
            (rights(true, false, false), [true, true, true, true]),
            (rights(true, true, true), [true, true, true, true]),
        ];
        for (rights, expect) in cases {
            let got = [Need::Nobody, Need::Login, Need::View, Need::Save].map(|it| it.met_by(rights.as_ref()));
            assert_eq!(got, expect, "{rights:?}");
        }
    }

    #[test]
    fn what_changes_something_needs_save() {
        for path in ["/config/push/service", "/config/alert/reporter/web/service"] {
            let found = find(path).unwrap();
            let needs = ["GET", "DELETE", "POST", "GET, DELETE", ""].map(|it| found.need_of(it));
            assert_eq!(needs, [Some(Need::View), Some(Need::Save), None, None, None]);
        }
    }

    #[test]
    fn every_command_needs_save_and_post() {
        let commands = [
            "activate",
            "cancel",
            "clear",
            "db",
            "factory-restore",
            "homeplug",
            "reboot",
            "set-time",
            "test-email",
            "test-remote",
            "update",
            "wlan",
        ];
        for path in commands.map(|it| format!("/cmd/{it}")) {
            let found = find(&path).unwrap();
            assert_eq!((found.methods, found.need), ("POST", Need::Save), "{path}");
            assert_eq!(Some(path.as_str()), found.resource.command().map(|it| format!("/cmd/{it}")).as_deref());
        }
    }
}
