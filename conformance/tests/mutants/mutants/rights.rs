//! Commands that are there for users who may not save.

use super::{Mutant, bearer, obey};
use crate::bench::GUEST;
use crate::message::Message;
use crate::proxy::Meter;
use meter_conformance::session::payload;

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("rights/all-may-activate", &["cmd/activate/26"], |call, meter| may(call, meter, "activate")),
    Mutant::new("rights/all-may-clear", &["cmd/clear/08"], |call, meter| may(call, meter, "clear")),
    Mutant::new("rights/all-may-change-data", &["cmd/db/17"], |call, meter| may(call, meter, "db")),
    Mutant::new("rights/all-may-restore-the-factory", &["cmd/factory-restore/14"], |call, meter| {
        may(call, meter, "factory-restore")
    }),
    Mutant::new("rights/all-may-key-bridges", &["cmd/homeplug/18"], |call, meter| may(call, meter, "homeplug")),
    Mutant::new("rights/all-may-reboot", &["cmd/reboot/14"], |call, meter| may(call, meter, "reboot")),
    Mutant::new("rights/all-may-set-the-clock", &["cmd/set-time/17"], |call, meter| may(call, meter, "set-time")),
    Mutant::new("rights/all-may-mail", &["cmd/test-email/26"], |call, meter| may(call, meter, "test-email")),
    Mutant::new("rights/all-may-test-devices", &["cmd/test-remote/33"], |call, meter| may(call, meter, "test-remote")),
    Mutant::new("rights/all-may-list-updates", &["cmd/update/list/14"], |call, meter| may(call, meter, "update")),
    Mutant::new("rights/all-may-install", &["cmd/update/install/28"], |call, meter| may(call, meter, "update")),
    Mutant::new("rights/all-may-join-networks", &["cmd/wlan/26"], |call, meter| may(call, meter, "wlan")),
];

/// Obeys this command of a user who may only look.
fn may(call: Message, meter: &Meter, command: &str) -> Message {
    obey(call, meter, |it| {
        let user = payload(bearer(it)).is_some_and(|it| it["usr"] == GUEST.0);
        user && it.path().strip_prefix("/cmd/") == Some(command)
    })
}
