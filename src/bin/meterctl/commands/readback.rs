//! A meter's own rows as a stream, from `/register?format=backup`: over links that break, from meters that cannot limit a
//! backup, and no further than somebody reads.

use crate::backup::format::{Backup, Fault, Row};
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::session::Session;

/// Rows between two looks at Ctrl-C.
const ROWS_PER_LOOK: u64 = 1024;

/// Rows of the meter, from the youngest wanted one on.
pub struct Readback {
    /// The youngest second that is wanted.
    to: Option<i64>,
    /// The meter understands `to`.
    can_limit: bool,
    backup: Backup,
    last_ts: Option<i64>,
    rows: u64,
}

impl Readback {
    /// Opens the stream.
    pub fn open(session: &mut Session, to: Option<i64>) -> Result<Readback, Failure> {
        let mut can_limit = true;
        let backup = session.patiently(|session| fetch(session, to, &mut can_limit))?;
        Ok(Readback { to, can_limit, backup, last_ts: None, rows: 0 })
    }

    /// The header and the registers.
    pub fn backup(&self) -> &Backup {
        &self.backup
    }

    /// The next older row; false at the end.
    pub fn next_row(&mut self, session: &mut Session, row: &mut Row) -> Result<bool, Failure> {
        loop {
            self.rows += 1;
            if self.rows.is_multiple_of(ROWS_PER_LOOK) && interrupt::pressed() {
                return Err(Failure::interrupted());
            }
            match self.backup.next_row(row) {
                Ok(false) => return Ok(false),
                Ok(true) if self.is_above(row.ts) => {}
                Ok(true) => {
                    self.last_ts = Some(row.ts);
                    return Ok(true);
                }
                Err(Fault { io: Some(err), .. }) => {
                    session.terminal.note(&format!("The link broke while rows were read ({err}); going on."));
                    self.reopen(session)?;
                }
                Err(fault) => return Err(Failure::new(Kind::Failed, format!("The meter's backup is wrong: {fault}."))),
            }
        }
    }

    /// Rows that are younger than wanted, or that were here before the link broke.
    fn is_above(&self, ts: i64) -> bool {
        self.to.is_some_and(|to| to < ts) || self.last_ts.is_some_and(|last| last <= ts)
    }

    /// Counters of the past do not change when rows are added, so what comes now joins what was there.
    fn reopen(&mut self, session: &mut Session) -> Result<(), Failure> {
        let to = self.last_ts.map(|it| it - 1).or(self.to);
        let mut can_limit = self.can_limit;
        let backup = session.patiently(|session| fetch(session, to, &mut can_limit))?;
        if backup.registers != self.backup.registers {
            return Err(Failure::new(Kind::Failed, "The meter's registers changed while its rows were read.")
                .hint("Run the command again."));
        }
        self.can_limit = can_limit;
        self.backup = backup;
        Ok(())
    }
}

fn fetch(session: &mut Session, to: Option<i64>, can_limit: &mut bool) -> Result<Backup, Failure> {
    let limit = to.filter(|_| *can_limit).map_or_else(String::new, |it| format!("&to={it}"));
    let source = match session.stream(&format!("/register?format=backup{limit}")) {
        Err(failure) if failure.kind == Kind::Failed && !limit.is_empty() => {
            *can_limit = false;
            session.stream("/register?format=backup")
        }
        res => res,
    };
    let source = source.map_err(|failure| match failure.kind {
        Kind::Failed | Kind::Lacking => {
            Failure::new(Kind::Lacking, format!("This meter gives no backup of its rows: {}", failure.text))
        }
        _ => failure,
    })?;
    Backup::read(source).map_err(|fault| match fault.io {
        Some(err) => Failure::new(Kind::Unreachable, format!("The link broke: {err}.")),
        None => Failure::new(
            Kind::Lacking,
            format!("This meter's backups are of a format that is not known here ({fault})."),
        ),
    })
}
