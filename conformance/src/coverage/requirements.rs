//! What the requirements gathered from the API's other pages and from its clients mark MUST, row by row.

use super::{Promise, by, not};

/// In the order of the table; a row may have several lines.
pub const ALL: &[Promise] = &[
    by("WebAPI §11 row 1", "commands are POST-only", &["cmd/cancel/08", "cmd/clear/05"]),
    not(
        "WebAPI §11 row 1",
        "there are twelve commands below /api, and no other",
        "which commands a meter has shows with each; one that is not known is too dangerous to send",
    ),
    by("WebAPI §11 row 2", "every 401 carries `rlm`, `nnc` and `error`", &["http/replies/04", "auth/login/01"]),
    by("WebAPI §11 row 3", "the digest login's formula", &["auth/login/02", "auth/nonces/04"]),
    by("WebAPI §11 row 3", "any client nonce will do", &["auth/form/01"]),
    by(
        "WebAPI §11 row 3",
        "a nonce lives about a minute, and the text for an expired one is fixed",
        &["auth/nonces/05", "auth/nonces/06"],
    ),
    by("WebAPI §11 row 4", "wrong credentials are 200 with `error`", &["auth/login/04", "auth/login/05"]),
    by(
        "WebAPI §11 row 4",
        "a malformed login is a 400 with `error`",
        &["auth/login/06", "auth/login/07", "auth/form/06"],
    ),
    by(
        "WebAPI §11 row 5",
        "a JWT of three segments with `beg` and `ltm`",
        &["auth/tokens/01", "auth/login/03", "auth/tokens/02"],
    ),
    by("WebAPI §11 row 5", "several tokens live at once", &["auth/login/10", "auth/logout/04"]),
    by("WebAPI §11 row 5", "logout revokes", &["auth/logout/02", "auth/logout/03"]),
    by("WebAPI §11 row 5", "a reboot revokes", &["cmd/reboot/10"]),
    by("WebAPI §11 row 6", "no password login without https", &["auth/form/05"]),
    by(
        "WebAPI §11 row 7",
        "errors are 200 with a string `error`, absent on success, and every reply is an object",
        &["http/replies/02", "http/replies/05", "http/replies/06"],
    ),
    by(
        "WebAPI §11 row 8",
        "the request's Content-Type does not matter",
        &["http/requests/01", "cmd/clear/web-cache/03"],
    ),
    by(
        "WebAPI §11 row 8",
        "reboot, factory-restore and set-time take an empty body",
        &["cmd/reboot/04", "cmd/factory-restore/04", "cmd/set-time/09", "cmd/set-time/10"],
    ),
    by(
        "WebAPI §11 row 9",
        "nothing is executed on a request that is answered 401",
        &[
            "cmd/activate/02",
            "cmd/db/02",
            "cmd/set-time/02",
            "cmd/reboot/02",
            "cmd/factory-restore/02",
            "cmd/update/list/02",
            "cmd/update/install/02",
            "cmd/test-email/02",
            "cmd/test-remote/02",
            "cmd/wlan/27",
            "cmd/db/status/17",
            "cmd/test-remote/34",
        ],
    ),
    not(
        "WebAPI §11 row 9",
        "no bridge gets a password by a request that is answered 401",
        "no resource shows which password a bridge has",
    ),
    by(
        "WebAPI §11 row 10",
        "operations' tokens are at least 32 lower-case hexadecimal digits and unguessable",
        &["cmd/db/status/02", "cmd/db/status/03"],
    ),
    by("WebAPI §11 row 10", "/sys/status is always empty", &["sys/status/01", "sys/status/members/05"]),
    by(
        "WebAPI §11 row 11",
        "`progress` has a decimal point, tags and `args` are as the client's tables have them",
        &[
            "cmd/db/status/06",
            "cmd/db/status/08",
            "cmd/db/status/09",
            "cmd/db/status/10",
            "cmd/db/status/11",
            "cmd/update/install/18",
        ],
    ),
    by(
        "WebAPI §11 row 12",
        "an unknown token is an error or a 404",
        &["sys/status/02", "sys/status/03", "sys/status/04"],
    ),
    by("WebAPI §11 row 13", "`version` and `minimum` are strings", &["cmd/update/list/04", "cmd/update/list/05"]),
    by(
        "WebAPI §11 row 14",
        "a reboot's reply first, the reboot a second later, back within a minute",
        &["cmd/reboot/04", "cmd/reboot/05", "cmd/reboot/07", "cmd/reboot/09"],
    ),
    by("WebAPI §11 row 14", "the sign of life answers within a second", &["auth/login/12"]),
    by(
        "WebAPI §11 row 15",
        "the right to save is enforced",
        &["auth/rights/06", "auth/rights/07", "auth/rights/10", "cmd/reboot/14", "cmd/db/17", "cmd/set-time/17"],
    ),
    by("WebAPI §11 row 16", "`data` up to 2 MiB is taken, more may be refused", &["cmd/db/file/13", "cmd/db/file/14"]),
    by("WebAPI §11 row 16", "stamps are kept exactly", &["cmd/db/07", "cmd/db/08", "cmd/db/zero/06"]),
    by(
        "WebAPI §11 row 17",
        "`id` is the list's `network_id`, an SSID holds neither newline nor NUL",
        &["cmd/wlan/06", "cmd/wlan/15", "cmd/wlan/20"],
    ),
];
