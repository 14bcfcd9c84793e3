//! Restoring one staged backup: a plan that is fixed when everything has been checked, and a run that applies it youngest
//! first, one batch after the other, each in the caller's transaction.
//!
//! Per register, the chunk owns one stretch of time, from just after the neighbour of its oldest applied sample up to its
//! youngest; what is there becomes what the file says. A sample whose older neighbour is not known yet keeps the increment
//! it had, or gets 0: so there is no moment at which a cut leaves a spike.

mod begin;
mod plan;
mod rows;
mod run;
mod window;

pub use plan::{Checking, Column, RestoreArgs, RestorePlan, plan_restore};
pub(super) use run::Run;
#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use rusqlite::Connection;

    use super::*;
    use crate::drivers::register_db::testing::{Scratch, dump};
    use crate::drivers::register_db::text::Header;
    use crate::drivers::register_db::{DbError, Job, Plan, Range, Stamp, Step, schema};

    const HEAD: &str = "meterd-backup,1\nts,Grid:P,Solar:P\n";
    const NOW: i64 = 1_000_000;

    /// What a test asks for beside the file.
    #[derive(Default)]
    struct Ask<'a> {
        range: (Option<i64>, Option<i64>),
        regs: Option<&'a [u32]>,
        more_chunks: bool,
        chain: Option<&'a Header>,
    }

    fn plan(scratch: &Scratch, conn: &Connection, text: &str, ask: &Ask) -> Result<RestorePlan, DbError> {
        let stamp = |it: Option<i64>| it.map(Stamp::from_seconds);
        let args = RestoreArgs {
            file: scratch.file("chunk", text.as_bytes()),
            staged: scratch.file("rows", &[]),
            range: Range { from: stamp(ask.range.0), to: stamp(ask.range.1) },
            regs: ask.regs.map(Vec::from),
            more_chunks: ask.more_chunks,
        };
        let mut rows = std::fs::File::create(&args.staged).unwrap();
        let checking = Checking {
            rows: &mut rows,
            chain: ask.chain,
            unpacked_bytes: 1 << 20,
            now: Stamp::from_seconds(NOW),
            cancel: &AtomicBool::new(false),
            on_progress: &mut |_| {},
        };
        plan_restore(conn, args, checking)
    }

    fn restore(scratch: &Scratch, conn: &mut Connection, text: &str, ask: &Ask) -> Header {
        let plan = plan(scratch, conn, text, ask).unwrap();
        let header = plan.header.clone();
        let mut job = Job::start(Plan::Restore(plan));
        loop {
            let tx = conn.transaction().unwrap();
            let step = job.step(&tx, 2).unwrap();
            tx.commit().unwrap();
            if step == Step::Done {
                return header;
            }
        }
    }

    fn counters(conn: &Connection) -> Vec<i64> {
        schema::registers(conn).unwrap().iter().map(|it| it.counter).collect()
    }

    #[test]
    fn a_file_into_an_empty_meter_makes_registers_rows_and_counters() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&[], &[]);
        restore(&scratch, &mut conn, &format!("{HEAD}300,50,-5\n240,40,\n180,10,7\n"), &Ask::default());
        assert_eq!(dump(&conn), "180: 0 0 | 240: 30 NULL | 300: 10 -12");
        assert_eq!(counters(&conn), [50, -5]);
    }

    #[test]
    fn a_row_of_the_file_replaces_all_that_lies_in_its_time() {
        let s = Some;
        let scratch = Scratch::new();
        let mut conn = scratch.db(
            &["Grid:P", "Solar:P"],
            &[
                (60, &[s(1), s(1)]),
                (120, &[s(2), None]),
                (180, &[s(3), s(3)]),
                (240, &[s(4), s(4)]),
                (300, &[s(5), s(5)]),
            ],
        );
        let text = "meterd-backup,1\nts,Grid:P\n240,100\n60,40\n";
        restore(&scratch, &mut conn, text, &Ask::default());
        assert_eq!(dump(&conn), "60: 1 1 | 180: NULL 3 | 240: 60 4 | 300: 5 5");
        assert_eq!(counters(&conn), [0, 0]);
    }

    #[test]
    fn a_range_clips_rows_but_a_clipped_row_still_is_the_neighbour() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P", "Solar:P"], &[(100, &[Some(7), Some(7)])]);
        let ask = Ask { range: (Some(150), Some(250)), ..Ask::default() };
        restore(&scratch, &mut conn, &format!("{HEAD}300,50,50\n240,40,40\n180,30,30\n90,10,10\n"), &ask);
        assert_eq!(dump(&conn), "180: 20 20 | 240: 10 10");
    }

    #[test]
    fn energy_is_taken_from_the_sample_that_held_it_but_never_more_than_it_had() {
        for (increment, expect) in [(100, 70), (25, 0), (-5, -35), (0, 0)] {
            let scratch = Scratch::new();
            let mut conn = scratch.db(&["Grid:P"], &[(60, &[Some(1)]), (600, &[Some(increment)])]);
            restore(&scratch, &mut conn, "meterd-backup,1\nts,Grid:P\n300,40\n240,20\n180,10\n", &Ask::default());
            let expect = format!("60: 1 | 180: 0 | 240: 10 | 300: 20 | 600: {expect}");
            assert_eq!(dump(&conn), expect, "{increment}");
        }
    }

    #[test]
    fn chunks_are_joined_where_the_client_announced_it_or_the_gap_is_small() {
        let young = "meterd-backup,1\nts,Grid:P\n600,100\n540,90\n";
        for (more_chunks, between, old, expect) in [
            (false, None, "480,70\n420,65\n", "420: 0 | 480: 5 | 540: 20 | 600: 10"),
            (false, None, "360,70\n300,65\n", "300: 0 | 360: 5 | 540: 0 | 600: 10"),
            (true, None, "360,70\n300,65\n", "300: 0 | 360: 5 | 540: 20 | 600: 10"),
            (false, Some(500), "480,70\n420,65\n", "420: 0 | 480: 5 | 500: 4 | 540: 0 | 600: 10"),
            (true, Some(500), "480,70\n420,65\n", "420: 0 | 480: 5 | 540: 20 | 600: 10"),
        ] {
            let scratch = Scratch::new();
            let mut conn = scratch.db(&["Grid:P"], &[]);
            if let Some(between) = between {
                conn.execute("INSERT INTO row (ts, r0) VALUES (?1, 9)", [between]).unwrap();
            }
            let header = restore(&scratch, &mut conn, young, &Ask { more_chunks, ..Ask::default() });
            let chain = more_chunks.then_some(&header);
            let old = if more_chunks { old.into() } else { format!("meterd-backup,1\nts,Grid:P\n{old}") };
            restore(&scratch, &mut conn, &old, &Ask { chain, ..Ask::default() });
            assert_eq!(dump(&conn), expect, "{more_chunks} {between:?} {old}");
        }
    }

    #[test]
    fn a_chunk_that_replaces_the_sample_energy_came_from_ends_the_drawing() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P"], &[(200, &[Some(50)]), (300, &[Some(0)])]);
        let more = || Ask { more_chunks: true, ..Ask::default() };
        let head = "meterd-backup,1\nts,Grid:P\n";
        let header = restore(&scratch, &mut conn, &format!("{head}100,10\n90,5\n"), &more());
        assert_eq!(dump(&conn), "90: 0 | 100: 5 | 200: 45 | 300: 0");
        restore(&scratch, &mut conn, &format!("{head}300,60\n200,40\n90,5\n"), &more());
        restore(&scratch, &mut conn, "80,1\n70,1\n", &Ask { chain: Some(&header), ..Ask::default() });
        assert_eq!(dump(&conn), "70: 0 | 80: 0 | 90: 4 | 200: 35 | 300: 20");
    }

    #[test]
    fn only_a_row_that_becomes_the_newest_sets_the_counter() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P", "Solar:P"], &[(300, &[Some(1), None])]);
        restore(&scratch, &mut conn, &format!("{HEAD}300,50,60\n240,40,50\n"), &Ask::default());
        assert_eq!(counters(&conn), [0, 60]);
    }

    #[test]
    fn discrete_registers_get_the_values_themselves() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Door:d"], &[(270, &[Some(9)]), (290, &[Some(9)])]);
        restore(&scratch, &mut conn, "meterd-backup,1\nts,Door:d\n300,1\n280,5\n240,3\n", &Ask::default());
        assert_eq!(dump(&conn), "240: 3 | 280: 5 | 300: 1");
        assert_eq!(counters(&conn), [0]);
    }

    #[test]
    fn a_job_that_is_cancelled_leaves_no_edge_and_its_position_outlives_it() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P"], &[]);
        let text = "meterd-backup,1\nts,Grid:P\n600,100\n540,90\n480,70\n420,65\n";
        let plan = Plan::Restore(plan(&scratch, &conn, text, &Ask::default()).unwrap());
        let mut job = Job::start(plan.clone());
        assert_eq!((job.reached(), job.info()), (None, "SKIP"));
        let tx = conn.transaction().unwrap();
        assert_eq!(job.step(&tx, 2).unwrap(), Step::More);
        tx.commit().unwrap();
        assert_eq!(job.summary().to_string(), r#"{"reached":"481","rows":2}"#);
        assert_eq!(job.info(), "RESTORE");
        assert_eq!(dump(&conn), "540: 20 | 600: 10");
        let edges = |conn: &Connection| conn.query_row("SELECT count(*) FROM edge", [], |row| row.get::<_, i64>(0));
        assert_eq!(edges(&conn).unwrap(), 0);
        let mut job = Job::resume(plan.clone(), &job.position()).unwrap();
        let tx = conn.transaction().unwrap();
        assert_eq!(job.step(&tx, 100).unwrap(), Step::Done);
        tx.commit().unwrap();
        assert_eq!(dump(&conn), "420: 0 | 480: 5 | 540: 20 | 600: 10");
        assert_eq!(edges(&conn).unwrap(), 1);
        assert!(Job::resume(plan, "{\"applied\":0,\"columns\":[]}").is_err());
    }

    #[test]
    fn what_cannot_be_restored_is_refused_by_name() {
        let rows = "300,50,60\n240,40,50\n";
        for (text, ask, expect) in [
            (HEAD.into(), Ask::default(), "NO_FIRST_ROW: "),
            (format!("{HEAD}300,1,1\n"), Ask::default(), "NO_SECOND_ROW: "),
            (format!("{HEAD}1000001,1,1\n1,1,1\n"), Ask::default(), "IN_FUTURE: 1000001 1000000"),
            (format!("{HEAD}300,1,1\n240,1,x\n"), Ask::default(), "INVAL_INT: 4"),
            (format!("meterd-backup,1\nts,Grid:P,Moon:P\n{rows}"), Ask::default(), "BADREG: Moon"),
            (format!("meterd-backup,1\nts,Grid:P,Solar:V\n{rows}"), Ask::default(), "BADREG: Solar"),
            (format!("{HEAD}{rows}"), Ask { regs: Some(&[9]), ..Ask::default() }, "regs: there is no register 9"),
            (format!("{HEAD}{rows}"), Ask { regs: Some(&[1, 1]), ..Ask::default() }, "regs: register 1 is named twice"),
            (
                format!("{HEAD}{rows}"),
                Ask { regs: Some(&[2]), ..Ask::default() },
                "regs: register 2 is not in the backup",
            ),
        ] {
            let scratch = Scratch::new();
            let conn = scratch.db(&["Grid:P", "Solar:P", "Door:d"], &[]);
            let err = plan(&scratch, &conn, &text, &ask).unwrap_err();
            let got = match err.tag() {
                Some(tag) => format!("{tag}: {}", err.args().join(" ")),
                None => err.to_string(),
            };
            assert_eq!(got, expect, "{err}");
        }
    }

    #[test]
    fn registers_that_were_not_asked_for_may_be_unknown_and_are_not_touched() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P", "Solar:P"], &[(300, &[Some(1), Some(1)])]);
        let text = "meterd-backup,1\nts,Moon:P,Solar:P,Grid:P\n300,1,50,9\n240,1,40,9\n";
        restore(&scratch, &mut conn, text, &Ask { regs: Some(&[1]), ..Ask::default() });
        assert_eq!(dump(&conn), "240: NULL 0 | 300: 1 10");
    }

    #[test]
    fn a_register_that_another_program_adds_meanwhile_keeps_its_rows() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P"], &[(570, &[Some(1)]), (450, &[Some(1)])]);
        let text = "meterd-backup,1\nts,Grid:P\n600,100\n540,90\n480,70\n420,65\n";
        let mut job = Job::start(Plan::Restore(plan(&scratch, &conn, text, &Ask::default()).unwrap()));
        let mut step = |conn: &mut Connection, rows| {
            let tx = conn.transaction().unwrap();
            job.step(&tx, rows).unwrap();
            tx.commit().unwrap();
        };
        step(&mut conn, 2);
        let tx = conn.transaction().unwrap();
        schema::create_register(&tx, "Solar", "P").unwrap();
        tx.execute("UPDATE row SET r1 = 3 WHERE ts = 450", []).unwrap();
        tx.commit().unwrap();
        step(&mut conn, 100);
        assert_eq!(dump(&conn), "420: 0 NULL | 450: NULL 3 | 480: 5 NULL | 540: 20 NULL | 600: 10 NULL");
    }
}
