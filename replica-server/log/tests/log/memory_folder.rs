//! The disk in memory loses, keeps and tears what the test asks it to.

use replica_log::{Crash, FileSystem, MemoryFolder};

/// A folder with `a` durable as "synced", and unsynced: 10 bytes more in `a`, a file `b`, `c` renamed to `d`,
/// `e` removed.
fn folder() -> MemoryFolder {
    let files = MemoryFolder::new();
    let a = files.create("a").expect("made");
    files.set_content("c", b"see".to_vec());
    files.set_content("e", b"eh".to_vec());
    files.sync_folder().expect("syncs");
    a.write_at(0, b"synced").expect("writes");
    a.sync().expect("syncs");
    a.write_at(6, b"0123456789").expect("writes");
    files.create("b").expect("made");
    files.rename("c", "d").expect("renames");
    files.remove("e").expect("removes");
    files
}

fn names(files: &MemoryFolder) -> String {
    files.list().expect("lists").concat()
}

#[test]
fn what_is_not_synced_is_lost_or_kept() {
    let files = folder();
    files.crash(Crash::Lose);
    assert_eq!((names(&files).as_str(), files.content("a")), ("ace", Some(b"synced".to_vec())));
    let files = folder();
    files.crash(Crash::Keep);
    assert_eq!((names(&files).as_str(), files.content("a")), ("abd", Some(b"synced0123456789".to_vec())));
    files.crash(Crash::Lose);
    assert_eq!((names(&files).as_str(), files.content("a")), ("abd", Some(b"synced0123456789".to_vec())));
}

#[test]
fn torn_outcomes_cover_every_length_and_repeat() {
    let mut lengths = std::collections::BTreeSet::new();
    let mut listed = std::collections::BTreeSet::new();
    for number in 0..1000 {
        let files = folder();
        files.crash(Crash::Torn(number));
        let a = files.content("a").expect("there");
        assert_eq!(&a[..6], b"synced");
        lengths.insert(a.len());
        listed.insert(names(&files));
        let again = folder();
        again.crash(Crash::Torn(number));
        assert_eq!((again.content("a"), names(&again)), (Some(a), names(&files)));
    }
    assert_eq!(lengths, (6..=16).collect());
    assert_eq!(
        listed.into_iter().collect::<Vec<_>>(),
        ["abc", "abce", "abd", "abde", "ac", "ace", "ad", "ade"]
    );
}

#[test]
fn scattered_outcomes_keep_the_end_without_the_beginning_too() {
    let (mut without_beginning, mut longest) = (0, 0);
    for number in 0..200 {
        let files = MemoryFolder::new();
        let a = files.create("a").expect("made");
        files.sync_folder().expect("syncs");
        a.write_at(0, &[1; 600]).expect("writes");
        a.sync().expect("syncs");
        a.write_at(600, &[2; 2000]).expect("writes");
        files.crash(Crash::Scattered(number));
        let found = files.content("a").expect("there");
        assert!(found[..600].iter().all(|&byte| byte == 1), "what was synced is there");
        assert!(found[600..].iter().all(|&byte| byte == 2 || byte == 0), "and nothing that was not written");
        let first = found[600..].iter().position(|&byte| byte == 0);
        let last = found[600..].iter().rposition(|&byte| byte == 2);
        without_beginning += usize::from(first.is_some() && first < last);
        longest = longest.max(found.len());
    }
    assert!(without_beginning > 50 && longest == 2600);
}

#[test]
fn a_crash_undoes_what_was_overwritten_and_cut() {
    for (outcome, expected) in [(Crash::Lose, b"0123456789".as_slice()), (Crash::Keep, b"01AB\0!")] {
        let files = MemoryFolder::new();
        files.set_content("a", b"0123456789".to_vec());
        let a = files.open("a").expect("opens");
        a.write_at(2, b"AB").expect("writes");
        a.truncate(4).expect("cuts");
        a.write_at(5, b"!").expect("writes behind the end");
        assert_eq!(files.content("a"), Some(b"01AB\0!".to_vec()));
        files.crash(outcome);
        assert_eq!(files.content("a").as_deref(), Some(expected));
    }
}

#[test]
fn a_failed_sync_loses_what_later_ones_claim() {
    let files = folder();
    let a = files.open("a").expect("opens");
    files.fail_next_sync();
    a.sync().expect_err("fails");
    a.sync().expect("claims to have synced");
    files.crash(Crash::Keep);
    assert_eq!(files.content("a"), Some(b"synced".to_vec()));
}

#[test]
fn what_is_written_again_after_a_failed_sync_can_be_synced() {
    let files = folder();
    let a = files.open("a").expect("opens");
    files.fail_next_sync();
    a.sync().expect_err("fails");
    a.write_at(6, b"0123456789").expect("writes again");
    a.sync().expect("syncs");
    files.crash(Crash::Lose);
    assert_eq!(files.content("a"), Some(b"synced0123456789".to_vec()));
}

/// (Simulator, seed 8047350: the disk itself lost what was written, shorter, after a write that was cut off again.)
#[test]
fn what_follows_a_failed_sync_and_is_synced_stays() {
    let files = folder();
    let a = files.open("a").expect("opens");
    a.truncate(6).expect("cuts off what was written");
    files.fail_next_sync();
    a.sync().expect_err("fails");
    a.write_at(6, b"abc").expect("writes");
    a.sync().expect("syncs");
    files.fail_next_sync();
    a.write_at(9, b"forgotten").expect("writes");
    a.sync().expect_err("fails");
    a.write_at(15, b"defghi").expect("writes over the end of it, and more");
    a.sync().expect("syncs");
    files.crash(Crash::Keep);
    assert_eq!(files.content("a"), Some(b"syncedabc\0\0\0\0\0\0defghi".to_vec()));
}

#[test]
fn a_full_disk_writes_half_and_has_room_again_after_a_removal() {
    let files = folder();
    files.set_capacity(Some(16 + 3 + 4));
    let a = files.open("a").expect("opens");
    let error = a.write_at(16, b"abcdef").expect_err("no room");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(files.content("a"), Some(b"synced0123456789abcd".to_vec()));
    a.write_at(0, b"SYNCED").expect("needs no room");
    files.remove("d").expect("removes");
    a.write_at(20, b"efg").expect("there is room again");
    a.truncate(0).expect("cuts");
    a.write_at(0, &[7; 23]).expect("there is room again");
}

#[test]
fn the_power_can_go_before_any_operation() {
    let files = folder();
    files.fail_after(1);
    let a = files.open("a").expect("opening changes nothing");
    a.write_at(16, b"!").expect("the last one that works");
    a.sync().expect_err("no power");
    files.remove("a").expect_err("no power");
    files.crash(Crash::Keep);
    assert_eq!(files.content("a"), Some(b"synced0123456789!".to_vec()));
    files.remove("a").expect("the power is back");
    a.write_at(0, b"?").expect("not connected to the folder any more");
    assert_eq!(files.open("a").expect_err("removed").kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn after_a_crash_syncs_can_be_trusted_again() {
    let files = folder();
    files.fail_next_sync();
    files.open("a").expect("opens").sync().expect_err("fails");
    files.crash(Crash::Lose);
    let a = files.open("a").expect("opens");
    a.write_at(6, b"!").expect("writes");
    a.sync().expect("syncs");
    files.crash(Crash::Lose);
    assert_eq!(files.content("a"), Some(b"synced!".to_vec()));
}
