//! What a power cut leaves on a mounted disk.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use forgetful::{Disk, Forgetful, Outcome, can_mount};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock};
use tempfile::TempDir;

/// A mounted disk, on a folder that goes with it.
struct Mounted {
    forgetful: Forgetful,
    _mountpoint: TempDir,
}

impl Mounted {
    /// `None` if nothing can be mounted here.
    fn new(test: &str) -> Option<Self> {
        if !can_mount(test) {
            return None;
        }
        let mountpoint = tempfile::tempdir().expect("a folder");
        let forgetful = Forgetful::mount(mountpoint.path(), Disk::default()).expect("a mount");
        Some(Self { forgetful, _mountpoint: mountpoint })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.forgetful.mountpoint().join(name)
    }

    fn sync_folder(&self, name: &str) {
        File::open(self.path(name)).unwrap().sync_all().unwrap();
    }

    fn write_synced(&self, name: &str, content: &[u8]) {
        let mut file = File::create(self.path(name)).unwrap();
        file.write_all(content).unwrap();
        file.sync_data().unwrap();
    }

    fn cut(&self, outcome: Outcome) {
        self.forgetful.cut_power(outcome);
        self.forgetful.restore_power();
    }

    fn content(&self, name: &str) -> Option<Vec<u8>> {
        match fs::read(self.path(name)) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn it_is_a_file_system() {
    let Some(disk) = Mounted::new("forgetful::it_is_a_file_system") else { return };
    fs::create_dir_all(disk.path("a/b")).unwrap();
    fs::write(disk.path("a/b/file"), b"0123456789").unwrap();
    fs::hard_link(disk.path("a/b/file"), disk.path("a/link")).unwrap();
    fs::rename(disk.path("a/b/file"), disk.path("a/b/other")).unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(disk.path("a/b/other")).unwrap();
    file.write_all_at(b"xy", 4).unwrap();
    file.set_len(8).unwrap();
    file.seek(SeekFrom::End(-4)).unwrap();
    let mut end = String::new();
    file.read_to_string(&mut end).unwrap();
    assert_eq!(end, "xy67");
    assert_eq!(fs::read(disk.path("a/link")).unwrap(), b"0123xy67");
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 100).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 8);
    let mut appended = OpenOptions::new().append(true).open(disk.path("a/link")).unwrap();
    appended.write_all(b"!").unwrap();
    assert_eq!(fs::read(disk.path("a/b/other")).unwrap(), b"0123xy67!");
    assert_eq!(fs::remove_dir(disk.path("a")).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
    fs::remove_file(disk.path("a/link")).unwrap();
    fs::remove_dir_all(disk.path("a")).unwrap();
    assert_eq!(fs::read_dir(disk.path("")).unwrap().count(), 0);
    // Open, and without a name.
    assert_eq!(file.metadata().unwrap().len(), 9);
}

#[test]
fn a_lock_keeps_others_out() {
    let Some(disk) = Mounted::new("forgetful::a_lock_keeps_others_out") else { return };
    let first = File::create(disk.path("lock")).unwrap();
    flock(&first, FlockOperation::NonBlockingLockExclusive).unwrap();
    let second = File::create(disk.path("lock")).unwrap();
    assert!(flock(&second, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(first);
    flock(&second, FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn what_was_synced_stays_and_what_was_not_is_lost() {
    let test = "forgetful::what_was_synced_stays_and_what_was_not_is_lost";
    let Some(disk) = Mounted::new(test) else { return };
    disk.write_synced("file", b"old");
    disk.sync_folder("");
    fs::write(disk.path("file"), b"new and longer").unwrap();
    assert_eq!(disk.content("file").unwrap(), b"new and longer");
    disk.cut(Outcome::Lost);
    assert_eq!(disk.content("file").unwrap(), b"old");
    fs::write(disk.path("file"), b"new and longer").unwrap();
    disk.cut(Outcome::Kept);
    assert_eq!(disk.content("file").unwrap(), b"new and longer");
}

#[test]
fn a_name_is_there_once_its_folder_was_synced() {
    let Some(disk) = Mounted::new("forgetful::a_name_is_there_once_its_folder_was_synced") else { return };
    disk.write_synced("synced", b"content");
    disk.cut(Outcome::Lost);
    assert_eq!(disk.content("synced"), None);
    File::create(disk.path("named")).unwrap().write_all(b"content").unwrap();
    disk.sync_folder("");
    disk.cut(Outcome::Lost);
    assert_eq!(disk.content("named").unwrap(), b"");
    // A folder in a folder: each has to be synced.
    fs::create_dir_all(disk.path("a/b")).unwrap();
    disk.sync_folder("a");
    disk.cut(Outcome::Lost);
    assert!(!disk.path("a").exists());
}

#[test]
fn a_rename_or_removal_without_a_sync_of_the_folder_is_undone_or_not() {
    let test = "forgetful::a_rename_or_removal_without_a_sync_of_the_folder_is_undone_or_not";
    let Some(disk) = Mounted::new(test) else { return };
    for (outcome, expected) in [
        (Outcome::Lost, [Some("old"), Some("new"), Some("gone")]),
        (Outcome::Kept, [Some("new"), None, None]),
    ] {
        for (name, content) in [("file", "old"), ("file.new", "new"), ("other", "gone")] {
            disk.write_synced(name, content.as_bytes());
        }
        disk.sync_folder("");
        fs::rename(disk.path("file.new"), disk.path("file")).unwrap();
        fs::remove_file(disk.path("other")).unwrap();
        disk.cut(outcome);
        let found = ["file", "file.new", "other"].map(|name| disk.content(name));
        assert_eq!(found, expected.map(|content| content.map(|text| text.as_bytes().to_vec())));
    }
}

#[test]
fn a_torn_file_has_any_of_its_sectors_and_any_of_its_names() {
    let Some(disk) = Mounted::new("forgetful::a_torn_file_has_any_of_its_sectors_and_any_of_its_names")
    else {
        return;
    };
    let (mut contents, mut names) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..200 {
        disk.write_synced("file", &[b'-'; 2 * 512]);
        disk.sync_folder("");
        let file = OpenOptions::new().write(true).open(disk.path("file")).unwrap();
        file.write_all_at(&[b'x'; 2 * 512], 0).unwrap();
        drop(file);
        File::create(disk.path("one")).unwrap();
        File::create(disk.path("two")).unwrap();
        disk.cut(Outcome::Torn(seed));
        let content = disk.content("file").unwrap();
        let sectors: Vec<u8> = content.chunks(512).map(|sector| sector[0]).collect();
        assert!(
            content.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])),
            "no sector is torn"
        );
        contents.insert(String::from_utf8(sectors).unwrap());
        names.insert(["one", "two"].map(|name| disk.path(name).exists()));
        for name in ["one", "two"] {
            let _ = fs::remove_file(disk.path(name));
        }
    }
    let expected = ["--", "-x", "x-", "xx"].map(str::to_owned);
    assert_eq!(contents, BTreeSet::from(expected));
    assert_eq!(names.len(), 4, "each name by itself: {names:?}");
}

#[test]
fn with_a_journal_names_are_those_of_one_moment() {
    let Some(disk) = Mounted::new("forgetful::with_a_journal_names_are_those_of_one_moment") else { return };
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        for name in ["one", "two"] {
            File::create(disk.path(name)).unwrap();
        }
        disk.cut(Outcome::Journaled(seed));
        seen.insert(["one", "two"].map(|name| disk.path(name).exists()));
        for name in ["one", "two"] {
            let _ = fs::remove_file(disk.path(name));
        }
        disk.sync_folder("");
    }
    assert_eq!(seen, BTreeSet::from([[false, false], [true, false], [true, true]]));
}

#[test]
fn with_a_journal_what_was_appended_is_there_from_its_beginning() {
    let test = "forgetful::with_a_journal_what_was_appended_is_there_from_its_beginning";
    let Some(disk) = Mounted::new(test) else { return };
    let appended = ["y", "z"].map(|letter| letter.repeat(700)).concat();
    let whole = ["x".repeat(1500), appended.clone()].concat();
    let mut lengths = BTreeSet::new();
    let mut first_sectors = BTreeSet::new();
    for seed in 0..200 {
        disk.write_synced("file", &whole.as_bytes()[..1500]);
        disk.sync_folder("");
        let mut file = OpenOptions::new().write(true).open(disk.path("file")).unwrap();
        file.write_all(&[b'a'; 1024]).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        for part in appended.as_bytes().chunks(700) {
            file.write_all(part).unwrap();
        }
        drop(file);
        disk.cut(Outcome::Journaled(seed));
        let content = String::from_utf8(disk.content("file").unwrap()).unwrap();
        assert!(content.len() >= 1500 && whole[1024..].starts_with(&content[1024..]), "{seed}: {content}");
        lengths.insert(content.len());
        first_sectors.insert([&content[..1], &content[512..513]].concat());
    }
    assert!(lengths.contains(&1500) && lengths.contains(&2200) && lengths.contains(&2900), "whole writes");
    assert!(lengths.len() > 50, "and parts of them: {lengths:?}");
    let torn = ["aa", "ax", "xa", "xx"].map(str::to_owned);
    assert_eq!(first_sectors, BTreeSet::from(torn), "what was overwritten is torn as ever");
}

#[test]
fn files_that_are_opened_to_be_synced_are() {
    let Some(disk) = Mounted::new("forgetful::files_that_are_opened_to_be_synced_are") else { return };
    for (name, flag) in [("sync", OFlags::SYNC), ("dsync", OFlags::DSYNC)] {
        let flag = flag.bits().cast_signed();
        let mut file =
            OpenOptions::new().write(true).create(true).custom_flags(flag).open(disk.path(name)).unwrap();
        file.write_all(b"content").unwrap();
        disk.sync_folder("");
        disk.cut(Outcome::Lost);
        assert_eq!(disk.content(name).unwrap(), b"content", "{name}");
    }
}

#[test]
fn who_had_a_file_open_when_the_power_went_has_lost_it() {
    let Some(disk) = Mounted::new("forgetful::who_had_a_file_open_when_the_power_went_has_lost_it") else {
        return;
    };
    disk.write_synced("file", b"content");
    disk.sync_folder("");
    let mut file = OpenOptions::new().read(true).write(true).open(disk.path("file")).unwrap();
    disk.forgetful.cut_power(Outcome::Kept);
    let without_power = fs::read(disk.path("file")).unwrap_err();
    assert_eq!(without_power.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    disk.forgetful.restore_power();
    for result in [file.write_all(b"x"), file.read_to_end(&mut Vec::new()).map(drop), file.sync_data()] {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    }
    assert_eq!(disk.content("file").unwrap(), b"content");
}

#[test]
fn a_disk_that_lies_forgets_what_was_synced() {
    let Some(disk) = Mounted::new("forgetful::a_disk_that_lies_forgets_what_was_synced") else { return };
    disk.forgetful.lie();
    disk.write_synced("file", b"content");
    disk.sync_folder("");
    assert_eq!(disk.content("file").unwrap(), b"content");
    disk.cut(Outcome::Lost);
    assert_eq!(disk.content("file"), None);
}

#[test]
fn the_journal_is_enough_to_have_the_disk_again() {
    let Some(disk) = Mounted::new("forgetful::the_journal_is_enough_to_have_the_disk_again") else { return };
    disk.forgetful.record();
    fs::create_dir(disk.path("folder")).unwrap();
    disk.write_synced("folder/file", b"content");
    disk.sync_folder("folder");
    disk.sync_folder("");
    fs::write(disk.path("folder/file"), b"changed").unwrap();
    let journal = disk.forgetful.journal();
    for (operations, outcome, expected) in [
        (journal.len(), Outcome::Kept, Some("changed")),
        (journal.len(), Outcome::Lost, Some("content")),
        (journal.len() - 3, Outcome::Lost, None),
    ] {
        let mut again = Disk::after(&journal[..operations]);
        again.cut(outcome);
        let folder = tempfile::tempdir().unwrap();
        again.copy_to(folder.path()).unwrap();
        let content = fs::read_to_string(folder.path().join("folder/file")).ok();
        assert_eq!(content.as_deref(), expected, "{outcome:?} after {:?}", journal[operations - 1]);
    }
}

#[test]
fn the_program_does_what_it_is_told() {
    let test = "forgetful::the_program_does_what_it_is_told";
    if !can_mount(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_forgetful"));
    let mut program =
        command.arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
    let mut answers = BufReader::new(program.stdout.take().unwrap()).lines();
    assert_eq!(answers.next().unwrap().unwrap(), "mounted");
    fs::write(folder.path().join("file"), b"content").unwrap();
    let mut commands = program.stdin.take().unwrap();
    for command in ["cut lost", "restore"] {
        writeln!(commands, "{command}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "done");
    }
    assert!(!folder.path().join("file").exists());
    drop(commands);
    assert!(program.wait().unwrap().success());
}
