//! A checkpoint on its way: chunks become files, each held against its checksum. What is here already, from a fetch
//! that broke off, is not asked for again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use proto::pb;
use rustix::fs::{Advice, fadvise};
use words::{CopyProgress, MutationId};

use super::app::check_name;
use super::offers::{checksum, checksum_of, manifest_checksum};
use crate::durable;

/// Files are synced in pieces of this many bytes: the prepare log's syncs would wait behind a whole large file.
const SYNC_BYTES: u64 = 4 << 20;

/// How far a download is.
pub(super) struct Download<'a> {
    incoming: &'a Path,
    wanted: MutationId,
    manifest: Option<pb::CheckpointManifest>,
    /// Which files of the manifest were complete before it began.
    were_here: Vec<bool>,
    /// The file being written; those before it are complete.
    file: usize,
    open: Option<OpenFile>,
    /// What is needed next is not what the stream sends next.
    jumped: bool,
    /// Bytes that were taken from streams.
    received: u64,
    /// Bytes of the manifest's files that are here.
    bytes: u64,
}

struct OpenFile {
    file: File,
    path: PathBuf,
    written: u64,
    unsynced: u64,
    crc: u32,
}

impl<'a> Download<'a> {
    /// Of that checkpoint into a folder, with what is there of it.
    pub(super) fn new(incoming: &'a Path, wanted: MutationId) -> Self {
        Self {
            incoming,
            wanted,
            manifest: None,
            were_here: Vec::new(),
            file: 0,
            open: None,
            jumped: false,
            received: 0,
            bytes: 0,
        }
    }

    /// What is needed next: a file, and from where on.
    pub(super) fn position(&self) -> (usize, u64) {
        (self.file, self.open.as_ref().map_or(0, |open| open.written))
    }

    /// A stream was asked for that begins at the position.
    pub(super) fn begin_stream(&mut self) {
        self.jumped = false;
    }

    /// Whether what is needed next comes next in the stream.
    pub(super) fn goes_on_in_stream(&self) -> bool {
        !self.jumped && !self.is_complete()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| self.file == manifest.files.len())
    }

    /// Bytes that came.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// How much of it is here.
    pub(super) fn progress(&self) -> CopyProgress {
        let files = self.manifest.iter().flat_map(|manifest| &manifest.files);
        let of_bytes = files.fold(0_u64, |sum, file| sum.saturating_add(file.length));
        CopyProgress { bytes: self.bytes, of_bytes }
    }

    /// Takes what a stream brought.
    pub(super) fn take(&mut self, chunk: pb::CheckpointChunk) -> Result<(), Broken> {
        if let Some(manifest) = chunk.manifest {
            self.take_manifest(manifest)?;
            self.go_on()?;
        }
        if chunk.data.is_empty() || self.jumped {
            return Ok(());
        }
        if crc32c::crc32c(&chunk.data) != chunk.crc32c {
            return Err(Broken::retry(&"a chunk arrived damaged"));
        }
        let (file, offset) = self.position();
        let (Some(expected), Some(open)) = (expected(self.manifest.as_ref(), file), &mut self.open) else {
            return Err(Broken::damaged("data after its last file"));
        };
        if chunk.file as usize != file || chunk.offset != offset {
            return Err(Broken::damaged("a chunk out of order"));
        }
        let length = chunk.data.len() as u64;
        if length > expected.length - offset {
            return Err(Broken::damaged("a file longer than announced"));
        }
        open.write(&chunk.data).map_err(Broken::Final)?;
        self.received += length;
        self.bytes += length;
        self.go_on()
    }

    fn take_manifest(&mut self, manifest: pb::CheckpointManifest) -> Result<(), Broken> {
        if manifest_checksum(&manifest) != manifest.crc32c {
            return Err(Broken::retry(&"a manifest arrived damaged"));
        }
        let identity = manifest.checkpoint.and_then(|id| MutationId::try_from(id).ok());
        if identity != Some(self.wanted) {
            return Err(Broken::damaged("another checkpoint than the one that was offered"));
        }
        let mut names = BTreeSet::new();
        for file in &manifest.files {
            check_name(Path::new(&file.name)).map_err(Broken::Final)?;
            if !names.insert(Path::new(&file.name)) {
                return Err(Broken::damaged("a file twice"));
            }
        }
        match &self.manifest {
            None => self.begin(manifest).map_err(Broken::Final),
            Some(known) if *known == manifest => Ok(()),
            Some(_) => Err(Broken::damaged("another manifest after a break")),
        }
    }

    /// Looks at what is here of these files, and removes what is of others.
    fn begin(&mut self, manifest: pb::CheckpointManifest) -> io::Result<()> {
        let wanted = manifest.files.iter().map(|file| self.incoming.join(&file.name)).collect();
        remove_others(self.incoming, &wanted)?;
        for file in &manifest.files {
            let path = self.incoming.join(&file.name);
            let length = path.metadata().map(|metadata| metadata.len()).ok();
            let is_here = length == Some(file.length) && checksum(&path)? == (file.length, file.crc32c);
            if is_here {
                self.bytes += file.length;
            } else if length.is_some_and(|length| length >= file.length) {
                // As long, and another one.
                removal::remove_file(&path)?;
            }
            self.were_here.push(is_here);
        }
        self.manifest = Some(manifest);
        Ok(())
    }

    /// Completes the open file if it is whole, and goes on to the next one that is not here.
    fn go_on(&mut self) -> Result<(), Broken> {
        while let Some(expected) = expected(self.manifest.as_ref(), self.file) {
            if self.were_here[self.file] {
                // A file without data has no chunk: the stream is no further than before.
                self.jumped |= expected.length > 0;
                self.file += 1;
                continue;
            }
            let open = match &mut self.open {
                Some(open) => open,
                none => {
                    let open = OpenFile::open(&self.incoming.join(&expected.name)).map_err(Broken::Final)?;
                    self.jumped |= open.written > 0;
                    self.bytes += open.written;
                    none.insert(open)
                }
            };
            if open.written < expected.length {
                break;
            }
            open.finish(expected.crc32c)?;
            self.open = None;
            self.file += 1;
        }
        Ok(())
    }

    /// It is complete.
    pub(super) fn finish(self) -> io::Result<pb::CheckpointManifest> {
        durable::sync_folder(self.incoming)?;
        self.manifest
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a checkpoint without manifest"))
    }
}

fn expected(manifest: Option<&pb::CheckpointManifest>, file: usize) -> Option<&pb::CheckpointFile> {
    manifest?.files.get(file)
}

/// Removes all files in a folder and below it that are not wanted.
fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_others(&entry.path(), wanted)?;
        } else if !wanted.contains(&entry.path()) {
            removal::remove_file(&entry.path())?;
        }
    }
    Ok(())
}

impl OpenFile {
    /// Goes on with a file; one that is not there is empty.
    fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(durable::parent(path)?)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (written, crc) = checksum_of(&mut file)?;
        Ok(Self { file, path: path.to_owned(), written, unsynced: 0, crc })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)?;
        self.crc = crc32c::crc32c_append(self.crc, data);
        self.written += data.len() as u64;
        self.unsynced += data.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.leave_cache()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// What was synced need not stay in the system's cache: memory for the next piece is there then, and a checkpoint
    /// that is larger than memory pushes nothing else out.
    fn leave_cache(&self) -> io::Result<()> {
        let from = self.written - self.unsynced;
        let synced = NonZeroU64::new(self.unsynced);
        fadvise(&self.file, from, synced, Advice::DontNeed).map_err(io::Error::from)
    }

    fn finish(&self, crc32c: u32) -> Result<(), Broken> {
        if self.crc != crc32c {
            // Nobody knows which part of it is wrong.
            removal::remove_file(&self.path).map_err(Broken::Final)?;
            return Err(Broken::damaged("a file whose checksum is wrong"));
        }
        self.file.sync_all().and_then(|()| self.leave_cache()).map_err(Broken::Final)
    }
}

/// Why a connection's worth ended early.
#[derive(Debug)]
pub(super) enum Broken {
    /// Another connection can go on.
    Retry(io::Error),
    /// Nobody answers where it is offered.
    Unreachable(io::Error),
    /// It is of no use.
    Final(io::Error),
}

impl Broken {
    pub(super) fn retry(error: &dyn std::fmt::Display) -> Self {
        Self::Retry(io::Error::other(error.to_string()))
    }

    pub(super) fn unreachable(error: &dyn std::fmt::Display) -> Self {
        Self::Unreachable(io::Error::other(error.to_string()))
    }

    fn damaged(what: &str) -> Self {
        Self::Final(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the node that offered it sent {what}"),
        ))
    }

    pub(super) fn from_status(status: tonic::Status) -> Self {
        let error = io::Error::other(format!("{}: {}", status.code(), status.message()));
        match status.code() {
            tonic::Code::NotFound | tonic::Code::InvalidArgument => Self::Final(error),
            _ => Self::Retry(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message;
    use words::{Ballot, Decree};

    use super::*;

    const WANTED: MutationId = MutationId { ballot: Ballot(3), decree: Decree(17) };

    fn sealed(manifest: pb::CheckpointManifest) -> pb::CheckpointManifest {
        pb::CheckpointManifest { crc32c: manifest_checksum(&manifest), ..manifest }
    }

    #[test]
    fn a_manifest_that_changed_on_its_way_is_fetched_again() {
        let file = pb::CheckpointFile { name: "a".to_owned(), length: 3, crc32c: 7 };
        let manifest = sealed(pb::CheckpointManifest {
            checkpoint: Some(WANTED.into()),
            files: vec![file],
            blob: "of the app".into(),
            sessions: "of the framework".into(),
            ..Default::default()
        });
        let incoming = tempfile::tempdir().expect("a folder");
        let take = |manifest| Download::new(incoming.path(), WANTED).take_manifest(manifest);
        assert!(take(manifest.clone()).is_ok());
        let bytes = manifest.encode_to_vec();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            // Some bits of a long number mean nothing.
            let changed = pb::CheckpointManifest::decode(&changed[..]).ok().filter(|it| *it != manifest);
            assert!(changed.is_none_or(|it| matches!(take(it), Err(Broken::Retry(_)))), "bit {bit}");
        }
    }

    const FILES: [(&str, &str); 4] = [("a", "aaa"), ("b", "bbbb"), ("c", ""), ("d", "dd")];

    fn manifest_of_files() -> pb::CheckpointChunk {
        let file = |(name, data): (&str, &str)| pb::CheckpointFile {
            name: name.to_owned(),
            length: data.len() as u64,
            crc32c: crc32c::crc32c(data.as_bytes()),
        };
        let files = FILES.map(file).to_vec();
        let manifest =
            pb::CheckpointManifest { checkpoint: Some(WANTED.into()), files, ..Default::default() };
        pb::CheckpointChunk { manifest: Some(sealed(manifest)), ..Default::default() }
    }

    fn piece(file: u32, offset: u64, data: &'static str) -> pb::CheckpointChunk {
        let crc32c = crc32c::crc32c(data.as_bytes());
        pb::CheckpointChunk { manifest: None, file, offset, data: data.into(), crc32c }
    }

    /// A download that has taken the manifest.
    fn begun(incoming: &Path) -> Download<'_> {
        let mut download = Download::new(incoming, WANTED);
        download.begin_stream();
        download.take(manifest_of_files()).expect("a manifest");
        download
    }

    #[test]
    fn what_is_here_is_not_asked_for_again() {
        let incoming = tempfile::tempdir().expect("a folder");
        let mut first = begun(incoming.path());
        assert!(first.goes_on_in_stream(), "nothing was here");
        for piece in [piece(0, 0, "aaa"), piece(1, 0, "bb")] {
            first.take(piece).expect("in order");
        }
        fs::write(incoming.path().join("of another checkpoint"), "x").expect("written");
        let mut second = begun(incoming.path());
        assert_eq!((second.position(), second.goes_on_in_stream()), ((1, 2), false));
        assert_eq!(second.progress(), CopyProgress { bytes: 5, of_bytes: 9 });
        second.take(piece(0, 0, "aaa")).expect("what the first stream still brings is left out");
        second.begin_stream();
        for piece in [piece(1, 2, "bb"), piece(3, 0, "dd")] {
            assert!(second.goes_on_in_stream());
            second.take(piece).expect("in order");
        }
        assert!(second.is_complete());
        assert_eq!((second.received(), second.progress().bytes), (4, 9));
        let mut found: Vec<_> = fs::read_dir(incoming.path())
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        found.sort();
        assert_eq!(found, FILES.map(|(name, _)| name));
        assert!(begun(incoming.path()).is_complete(), "all of it is here");
    }

    #[test]
    fn what_is_here_and_wrong_is_fetched_again() {
        let incoming = tempfile::tempdir().expect("a folder");
        fs::write(incoming.path().join("a"), "AAA").expect("written");
        fs::write(incoming.path().join("b"), "BB").expect("written");
        let mut first = begun(incoming.path());
        assert!(first.goes_on_in_stream(), "the first file has another checksum");
        first.take(piece(0, 0, "aaa")).expect("the whole file");
        assert_eq!((first.position(), first.goes_on_in_stream()), ((1, 2), false));
        first.begin_stream();
        assert!(matches!(first.take(piece(1, 2, "bb")), Err(Broken::Final(_))));
        assert_eq!(begun(incoming.path()).position(), (1, 0));
    }

    /// Chunks as whoever wants to do harm sends them: about right, in any order, with names that lead elsewhere.
    fn chunk() -> impl Strategy<Value = pb::CheckpointChunk> {
        let name = prop::sample::select(vec!["a", "b", "c/d", "../out", "/tmp/out", "", "a/..", "a\0", "c"]);
        let data = prop::sample::select(vec![&b""[..], b"x", b"xyz"]);
        let length = prop::sample::select(vec![0_u64, 1, 3, u64::MAX]);
        let file = (name, length, data.clone()).prop_map(|(name, length, data)| pb::CheckpointFile {
            name: name.to_owned(),
            length,
            crc32c: crc32c::crc32c(data),
        });
        let manifest = (vec(file, 0..4), any::<bool>()).prop_map(|(files, right)| {
            let checkpoint = right.then(|| WANTED.into());
            sealed(pb::CheckpointManifest { checkpoint, files, ..Default::default() })
        });
        let offset = prop::sample::select(vec![0_u64, 1, 3, u64::MAX]);
        (prop::option::of(manifest), 0..4_u32, offset, data, prop::bool::weighted(0.9)).prop_map(
            |(manifest, file, offset, data, right)| pb::CheckpointChunk {
                manifest,
                file,
                offset,
                data: data.into(),
                crc32c: if right { crc32c::crc32c(data) } else { 7 },
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn whatever_is_sent_stays_in_its_folder_and_is_whole_or_refused(chunks in vec(chunk(), 1..12)) {
            let folder = tempfile::tempdir().expect("a folder");
            let incoming = folder.path().join("incoming");
            fs::create_dir(&incoming).expect("made");
            let mut download = Download::new(&incoming, WANTED);
            for chunk in chunks {
                if let Err(Broken::Final(_)) = download.take(chunk) {
                    break;
                }
            }
            let around = fs::read_dir(folder.path()).expect("listed").count();
            prop_assert_eq!(around, 1, "something was written beside the folder");
            if download.is_complete() {
                for file in download.finish().expect("it has a manifest").files {
                    let bytes = fs::read(incoming.join(&file.name)).expect("it was sent");
                    prop_assert_eq!((bytes.len() as u64, crc32c::crc32c(&bytes)), (file.length, file.crc32c));
                }
            }
        }
    }
}
