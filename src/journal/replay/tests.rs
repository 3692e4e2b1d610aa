//! A story is told to a bus, exported, and replayed: the decisions are the same, and a changed record shows.

use millrace_schemas::time::Timestamp;

use super::*;
use crate::journal::export;
use crate::journal::story::Story;

#[test]
fn a_replay_of_the_export_takes_the_same_decisions() {
    let dir = tempfile::tempdir().unwrap();
    let bus = Story::failover().shared();
    let exported = export(&bus, dir.path()).unwrap();
    assert!(exported.records["journal"] > 10 && exported.missing == 0, "{exported:?}");
    let replayed = replay(dir.path()).unwrap();
    assert!(replayed.equal && replayed.from_the_start, "{replayed:?}");
    assert_eq!(replayed.promotions, 1);
    assert_eq!(replayed.decisions[0].kind, "fail-over");
    assert_eq!(replayed.permits, 1, "the fleet permitted it");
    assert_eq!(replayed.recorded, replayed.decisions.len());
    // A second export adds nothing and changes nothing.
    assert_eq!(export(&bus, dir.path()).unwrap().files, 0);
    assert_eq!(replay(dir.path()).unwrap(), replayed);
}

#[test]
fn a_decision_that_the_journal_does_not_explain_makes_the_hashes_differ() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::failover();
    story.forge_action();
    export(&story.shared(), dir.path()).unwrap();
    let replayed = replay(dir.path()).unwrap();
    assert!(!replayed.equal);
    assert_eq!(replayed.recorded, replayed.decisions.len() + 1);
}

#[test]
fn a_permit_that_the_fleet_did_not_give_makes_the_replay_differ() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::failover();
    story.forge_permit();
    export(&story.shared(), dir.path()).unwrap();
    let replayed = replay(dir.path()).unwrap();
    assert_eq!(replayed.hash, replayed.recorded_hash);
    assert_eq!((replayed.permits, replayed.equal), (2, false));
}

#[test]
fn a_folder_without_an_archive_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = replay(dir.path()).unwrap_err().to_string();
    assert!(error.contains("holds no archive"), "{error}");
}

/// The archive keeps what nobody believed when it ran; whoever replays it with the roster passes over it.
#[test]
fn a_replay_judges_as_the_deciders_did() {
    let dir = tempfile::tempdir().unwrap();
    export(&Story::failover().shared(), dir.path()).unwrap();
    let believed = replay(dir.path()).unwrap();
    let check = |since: Option<Timestamp>, expected: (u64, u64, usize)| {
        let mut roster = Roster::default();
        roster.since = since;
        let found = replay_judged(dir.path(), Some(&roster)).unwrap();
        assert_eq!((found.records, found.refused, found.decisions.len()), expected, "{since:?}");
        assert!(found.equal, "what was decided by nobody who is believed is not recorded either");
    };
    check(None, (0, believed.records, 0)); // nobody signed the story
    check(Some(Timestamp(i64::MAX)), (believed.records, 0, believed.decisions.len()));
}
