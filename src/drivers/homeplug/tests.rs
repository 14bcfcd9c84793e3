//! The whole course against an emulated powerline with a clock of its own: order, faults, cancelling, words.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::keys::Password;
use super::link::Wire;
use super::set_password::{Failure, run};
use super::target::{Mac, SetPassword, Target};
use super::testing::{Fault, LOCAL, Line, REMOTE, hex};

const OTHER: Mac = Mac([0, 0xb0, 0x52, 0xba, 0xbe, 0x99]);

fn command(targets: &[Mac]) -> SetPassword {
    let target = |it: &Mac| Target::parse(&format!("{it}/ABCD-EFGH-IJKL-MNOP")).unwrap();
    SetPassword { password: Password::parse("secret pass").unwrap(), targets: targets.iter().map(target).collect() }
}

/// The states of targets and local bridge, and whether it was verified: `changed unchanged / changed, true`.
fn states(value: &Value) -> String {
    let word = |it: &Value| it["state"].as_str().unwrap().to_string();
    let targets: Vec<_> = value["targets"].as_array().unwrap().iter().map(word).collect();
    format!("{} / {}, {}", targets.join(" "), word(&value["local"]), value["verified"])
}

/// One run on a line that `prepare` has set up.
struct Run {
    outcome: Result<Value, Failure>,
    line: Line,
    /// What was published last.
    last: Value,
    took: Duration,
}

#[track_caller]
fn go(targets: &[Mac], chosen: Option<Mac>, cancel_after: usize, prepare: impl Fn(&mut Line)) -> Run {
    let (mut line, shared) = Line::new();
    shared.cancel_after.store(cancel_after, Ordering::Relaxed);
    prepare(&mut line);
    let outcome = run(&mut line, "plc0", chosen, &command(targets), &*shared);
    let results = shared.results.lock().unwrap();
    let shares = shared.shares.lock().unwrap();
    assert!(shares.is_sorted() && shares.iter().all(|it| (0.0..=1.0).contains(it)), "{shares:?}");
    if let Err(err) = &outcome {
        let text = err.to_string();
        assert!(!text.contains("MNOP") && !text.contains("secret"), "{text}");
    }
    let took = line.now();
    Run { outcome, line, last: results.last().cloned().unwrap_or_default(), took }
}

/// One fault at one bridge, with both remotes as targets.
#[track_caller]
fn check(whom: Mac, fault: Fault, expect_story: &str, expect: &str) -> Run {
    let run = go(&REMOTE, None, usize::MAX, |it| it.faults.push((whom, fault)));
    assert_eq!(run.line.story(), expect_story, "{whom} {fault:?}: {:?}", run.outcome);
    assert_eq!(states(&run.last), expect, "{whom} {fault:?}: {:?}", run.outcome);
    match &run.outcome {
        Ok(value) => assert_eq!(states(value), expect),
        Err(err) => {
            for it in REMOTE.iter().chain([&LOCAL]) {
                assert!(err.to_string().contains(&it.to_string()), "{err}");
            }
            assert!(!err.is_cancelled());
        }
    }
    run
}

const ALL: &str = "who 57 58 local look";
const STOPPED: &str = "who 57";

#[test]
fn remotes_move_first_and_the_local_bridge_last() {
    let run = go(&REMOTE, None, usize::MAX, |_| {});
    assert_eq!(states(&run.outcome.unwrap()), "changed changed / changed, true");
    assert_eq!(run.line.story(), ALL);
    assert_eq!(run.line.moved, [true; 3]);
    assert!(run.took < Duration::from_secs(3), "{:?}", run.took);
    // Bridges are called at the common address and then spoken to alone.
    let to: Vec<_> = run.line.sent.iter().map(|it| hex(&it[..6])).collect();
    assert_eq!(to, ["00b052000001", "00b052babe56", "00b052babe56", "00b052babe56", "00b052babe56"]);
}

#[test]
fn the_first_remote_to_fail_stops_everything() {
    check(REMOTE[0], Fault::Status(0x15), STOPPED, "unchanged unchanged / unchanged, false");
    check(REMOTE[0], Fault::Status(0x7f), STOPPED, "unchanged unchanged / unchanged, false");
    check(REMOTE[0], Fault::Status(0x14), STOPPED, "unknown unchanged / unchanged, false");
    check(REMOTE[0], Fault::Absent, STOPPED, "unknown unchanged / unchanged, false");
    check(REMOTE[0], Fault::Short, STOPPED, "unknown unchanged / unchanged, false");
    check(REMOTE[0], Fault::Stranger, STOPPED, "unknown unchanged / unchanged, false");
    check(REMOTE[0], Fault::Down, "who", "unchanged unchanged / unchanged, false");
}

#[test]
fn once_a_remote_has_moved_the_others_are_asked_and_the_local_bridge_follows() {
    check(REMOTE[1], Fault::Status(0x15), ALL, "changed unchanged / changed, true");
    check(REMOTE[1], Fault::Absent, ALL, "changed unknown / changed, false");
    check(REMOTE[1], Fault::Down, "who 57 local look", "changed unchanged / changed, true");
    // Its answer is lost, but it turns up in the new network, which proves that it moved.
    check(REMOTE[1], Fault::Mute, ALL, "changed changed / changed, true").outcome.unwrap();
    check(REMOTE[1], Fault::Short, ALL, "changed changed / changed, true").outcome.unwrap();
}

#[test]
fn the_local_bridge_is_tried_again_when_silent_and_only_then() {
    let times = |run: &Run| run.line.sent.iter().filter(|it| it[15] == 0x50 && it[37] == 0x0f).count();
    let run = check(LOCAL, Fault::AbsentOnce, ALL, "changed changed / changed, true");
    assert_eq!(times(&run), 2);
    let run = check(LOCAL, Fault::Mute, ALL, "changed changed / changed, true");
    assert_eq!(times(&run), 3);
    let run = check(LOCAL, Fault::Absent, ALL, "changed changed / unknown, false");
    assert_eq!(times(&run), 3);
    let run = check(LOCAL, Fault::Status(0x10), "who 57 58 local", "changed changed / unchanged, false");
    assert_eq!(times(&run), 1);
    let text = run.outcome.unwrap_err().to_string();
    assert!(text.contains("0x10") && text.contains("out of the meter's reach until its own bridge follows"), "{text}");
}

#[test]
fn a_remote_is_never_asked_twice() {
    for fault in [Fault::Absent, Fault::Mute, Fault::Late(3500), Fault::Status(0x15), Fault::Short] {
        let run = go(&REMOTE[..1], None, usize::MAX, |it| it.faults.push((REMOTE[0], fault)));
        assert_eq!(run.line.sent.iter().filter(|it| it[15] == 0x50 && it[37] == 0).count(), 1, "{fault:?}");
    }
}

#[test]
fn a_late_answer_or_a_copy_is_not_taken_for_the_next_targets() {
    for fault in [Fault::Late(2900), Fault::Late(3500), Fault::Late(5900), Fault::Twice(1), Fault::Twice(140)] {
        let run = go(&REMOTE, None, usize::MAX, |it| {
            it.faults = vec![(REMOTE[0], fault), (REMOTE[1], Fault::Status(0x15))];
        });
        assert_eq!(states(&run.last), "changed unchanged / changed, true", "{fault:?}");
        assert_eq!(run.line.moved, [true, true, false]);
    }
}

#[test]
fn a_silent_bridge_costs_its_time_twice_and_no_more() {
    let quick = go(&REMOTE[..1], None, usize::MAX, |it| it.faults.push((REMOTE[0], Fault::Status(0x13)))).took;
    let run = go(&REMOTE[..1], None, usize::MAX, |it| it.faults.push((REMOTE[0], Fault::Absent)));
    let more = run.took - quick;
    assert!((5900..6100).contains(&more.as_millis()), "{more:?}");
}

#[test]
fn a_flood_of_noise_delays_nothing() {
    let run = go(&REMOTE, None, usize::MAX, |it| it.flood = true);
    assert_eq!(states(&run.outcome.unwrap()), "changed changed / changed, true");
    let run = go(&REMOTE, None, usize::MAX, |it| {
        it.flood = true;
        it.faults.push((REMOTE[0], Fault::Absent));
    });
    assert_eq!(states(&run.last), "unknown unchanged / unchanged, false");
    assert!(run.took < Duration::from_secs(8), "{:?}", run.took);
}

#[test]
fn both_kinds_of_network_list_verify_and_a_missing_one_is_only_noted() {
    for layout in [0, 1] {
        let value = go(&REMOTE, None, usize::MAX, |it| it.layout = Some(layout)).outcome.unwrap();
        assert_eq!(states(&value), "changed changed / changed, true", "{layout}");
        assert_eq!(value.get("note"), None);
    }
    let run = go(&REMOTE, None, usize::MAX, |it| it.layout = None);
    let value = run.outcome.unwrap();
    assert_eq!(states(&value), "changed changed / changed, false");
    assert!(value["note"].as_str().unwrap().contains("within 30 s"), "{value}");
    assert!((30..36).contains(&run.took.as_secs()), "{:?}", run.took);
}

#[test]
fn the_meters_own_bridge_may_be_named_and_is_still_the_last() {
    let run = go(&[LOCAL, REMOTE[0]], None, usize::MAX, |_| {});
    assert_eq!(run.line.story(), "who 57 local look");
    assert_eq!(states(&run.outcome.unwrap()), "changed changed / changed, true");
    // Alone, it is the way back when the remotes have moved and it has not.
    let run = go(&[LOCAL], None, usize::MAX, |it| it.moved = [false, true, true]);
    assert_eq!(run.line.story(), "who local look");
    assert_eq!(states(&run.outcome.unwrap()), "changed / changed, true");
    let run = go(&[LOCAL, REMOTE[0]], None, usize::MAX, |it| it.faults.push((REMOTE[0], Fault::Status(0x13))));
    assert_eq!(states(&run.last), "unchanged unchanged / unchanged, false");
}

#[test]
fn cancelling_before_a_bridge_moved_leaves_all_as_it_was() {
    for (after, story) in [(0, ""), (1, "who")] {
        let run = go(&REMOTE, None, after, |_| {});
        let err = run.outcome.unwrap_err();
        assert!(err.is_cancelled() && err.to_string().contains("before any bridge"), "{err}");
        assert_eq!(run.line.story(), story);
        assert_eq!(run.line.moved, [false; 3]);
    }
    let err = go(&[LOCAL], None, 1, |_| {}).outcome.unwrap_err();
    assert!(err.is_cancelled());
}

#[test]
fn cancelling_after_a_remote_moved_spares_the_others_and_brings_the_local_bridge_after() {
    let run = go(&REMOTE, None, 2, |_| {});
    let err = run.outcome.unwrap_err();
    assert!(err.is_cancelled(), "{err}");
    assert!(
        err.to_string().contains(&format!("{} unchanged (not asked, because it was cancelled)", REMOTE[1])),
        "{err}"
    );
    assert_eq!(run.line.story(), "who 57 local");
    assert_eq!(run.line.moved, [true, true, false]);
    assert_eq!(states(&run.last), "changed unchanged / changed, false");
}

#[test]
fn cancelling_when_all_have_moved_comes_too_late() {
    for after in [3, 4] {
        let run = go(&REMOTE, None, after, |_| {});
        let value = run.outcome.unwrap();
        assert_eq!(states(&value), "changed changed / changed, false");
        assert!(value["note"].as_str().unwrap().contains("Cancelled"), "{value}");
        assert_eq!(run.line.moved, [true; 3]);
    }
}

#[track_caller]
fn refused(chosen: Option<Mac>, locals: &[Mac], expect: &str) {
    let run = go(&REMOTE, chosen, usize::MAX, |it| it.locals = locals.to_vec());
    let err = run.outcome.unwrap_err().to_string();
    assert!(err.contains(expect) && err.contains("plc0") && err.contains("othing was changed"), "{err}");
    assert_eq!(run.line.story(), "who");
    assert_eq!(run.line.moved, [false; 3]);
}

#[test]
fn the_meters_own_bridge_must_be_one_and_known() {
    refused(None, &[], "No HomePlug bridge answers");
    refused(None, &[LOCAL, OTHER], &format!("{LOCAL}, {OTHER}. Name the meter's own as homeplug.bridge"));
    refused(Some(OTHER), &[LOCAL], &format!("{OTHER}, which is homeplug.bridge"));
    refused(Some(OTHER), &[], "No HomePlug bridge answers");
    let run = go(&REMOTE, Some(LOCAL), usize::MAX, |it| it.locals = vec![OTHER, LOCAL]);
    assert_eq!(states(&run.outcome.unwrap()), "changed changed / changed, true");
}

#[test]
fn what_waited_before_a_request_is_thrown_away() {
    let run = go(&REMOTE, None, usize::MAX, |it| {
        it.glitch = true;
        it.present(0, OTHER);
    });
    assert_eq!(states(&run.outcome.unwrap()), "changed changed / changed, true");
}

#[test]
fn a_call_that_is_missed_is_repeated() {
    let run = go(&REMOTE, None, usize::MAX, |it| it.deaf = 2);
    assert_eq!(states(&run.outcome.unwrap()), "changed changed / changed, true");
    assert_eq!(run.line.sent.iter().filter(|it| it[15] == 0).count(), 3);
}
