//! Fetches a checkpoint from another node into a new generation and opens it there (§6.2). Runs on a thread of
//! its own; the shard decides at the end whether the result takes the app's place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proto::pb;
use proto::pb::peer_client::PeerClient;
use replicated_app::{AppInfo, LearnState};
use tokio::runtime::Handle;
use tokio::time::timeout;
use words::{Gpid, MutationId};

use super::app::{HostedApp, SharedRegistry, check_name};
use super::folder::{ReplicaFolder, incoming_folder};
use super::offers::manifest_checksum;
use crate::wire::{self, CHECKPOINT_LIMIT};
use crate::{durable, jitter};

/// A fetch without any progress for this long is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// A chunk that takes longer than this counts as a break: the connection is made anew.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);

/// What to fetch, and where to.
pub(crate) struct Fetch {
    pub(crate) gpid: Gpid,
    pub(crate) info: AppInfo,
    pub(crate) folder: ReplicaFolder,
    /// The generation to make.
    pub(crate) generation: u64,
    /// Where the node that offers it can be reached, `host:port`.
    pub(crate) address: String,
    pub(crate) transfer: u64,
    pub(crate) checkpoint: MutationId,
    /// Set when nobody wants it any more.
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Fetch {
    /// Fetches it and opens an app with it, in a generation that does not count yet.
    ///
    /// # Errors
    /// The offer is gone or is another one, the node can't be reached, the data is damaged, the disk is full,
    /// the app does not take it. Nothing is left over then.
    pub(crate) fn run(&self, registry: &SharedRegistry, runtime: &Handle) -> io::Result<HostedApp> {
        let generation = self.folder.make_generation(self.generation)?;
        let result = self.fill(&generation, registry, runtime);
        if result.is_err() {
            let _ = durable::remove_folder(&generation);
        }
        result
    }

    fn fill(&self, generation: &Path, registry: &SharedRegistry, runtime: &Handle) -> io::Result<HostedApp> {
        let incoming = incoming_folder(generation);
        fs::create_dir_all(&incoming)?;
        let manifest = self.pull(&incoming, runtime)?;
        let state = LearnState {
            decree: self.checkpoint.decree,
            folder: incoming.clone(),
            files: manifest.files.iter().map(|file| PathBuf::from(&file.name)).collect(),
            blob: manifest.blob,
        };
        let mut app = HostedApp::open(registry, self.gpid, &self.info, generation)?;
        app.install(self.checkpoint, &manifest.sessions, &state)?;
        durable::remove_folder(&incoming)?;
        durable::sync_folder(generation)?;
        Ok(app)
    }

    /// Pulls all files, again and again from where the last connection broke.
    fn pull(&self, incoming: &Path, runtime: &Handle) -> io::Result<pb::CheckpointManifest> {
        let mut download =
            Download { incoming, wanted: self.checkpoint, manifest: None, file: 0, open: None };
        let mut last_progress = Instant::now();
        loop {
            let before = download.position();
            let error = match runtime.block_on(self.pull_once(&mut download)) {
                Ok(()) => return download.finish(),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Retry(error)) => error,
            };
            if download.position() != before {
                last_progress = Instant::now();
            }
            if last_progress.elapsed() > PATIENCE {
                return Err(error);
            }
            tracing::info!(gpid = %self.gpid, from = self.address, %error, "fetching a checkpoint: connecting again");
            std::thread::sleep(jitter::between(100, 300));
        }
    }

    /// One connection's worth of it. Files are written from here: this thread has nothing else to do.
    async fn pull_once(&self, download: &mut Download<'_>) -> Result<(), Broken> {
        let channel = wire::connect(&self.address).await.map_err(|error| Broken::retry(&error))?;
        let mut client = PeerClient::new(channel).max_decoding_message_size(CHECKPOINT_LIMIT);
        let (file, offset) = download.position();
        let request = pb::FetchCheckpointRequest {
            gpid: Some(self.gpid.into()),
            transfer: self.transfer,
            file: u32::try_from(file).unwrap_or(u32::MAX),
            offset,
        };
        let mut chunks = timeout(CHUNK_TIMEOUT, client.fetch_checkpoint(request))
            .await
            .map_err(|error| Broken::retry(&error))?
            .map_err(Broken::from_status)?
            .into_inner();
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Broken::Final(io::Error::new(io::ErrorKind::Interrupted, "not wanted any more")));
            }
            let next =
                timeout(CHUNK_TIMEOUT, chunks.message()).await.map_err(|error| Broken::retry(&error))?;
            match next.map_err(Broken::from_status)? {
                Some(chunk) => download.take(chunk)?,
                None if download.is_complete() => return Ok(()),
                None => return Err(Broken::retry(&"the stream ended early")),
            }
        }
    }
}

/// How far a download is.
struct Download<'a> {
    incoming: &'a Path,
    wanted: MutationId,
    manifest: Option<pb::CheckpointManifest>,
    /// The file being written; those before it are complete.
    file: usize,
    open: Option<OpenFile>,
}

struct OpenFile {
    file: File,
    written: u64,
    crc: u32,
}

impl Download<'_> {
    fn position(&self) -> (usize, u64) {
        (self.file, self.open.as_ref().map_or(0, |open| open.written))
    }

    fn is_complete(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| self.file == manifest.files.len())
    }

    fn take(&mut self, chunk: pb::CheckpointChunk) -> Result<(), Broken> {
        if let Some(manifest) = chunk.manifest {
            self.take_manifest(manifest)?;
        }
        self.finish_empty_files()?;
        if chunk.data.is_empty() {
            return Ok(());
        }
        if crc32c::crc32c(&chunk.data) != chunk.crc32c {
            return Err(Broken::retry(&"a chunk arrived damaged"));
        }
        let (file, offset) = self.position();
        let expected = self.manifest.as_ref().and_then(|manifest| manifest.files.get(file));
        let Some(expected) = expected else { return Err(Broken::damaged("data after its last file")) };
        if chunk.file as usize != file || chunk.offset != offset {
            return Err(Broken::damaged("a chunk out of order"));
        }
        let length = chunk.data.len() as u64;
        if length > expected.length - offset {
            return Err(Broken::damaged("a file longer than announced"));
        }
        let complete = offset + length == expected.length;
        let path = self.incoming.join(&expected.name);
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(OpenFile::create(&path).map_err(Broken::Final)?),
        };
        open.file.write_all(&chunk.data).map_err(Broken::Final)?;
        open.crc = crc32c::crc32c_append(open.crc, &chunk.data);
        open.written += length;
        if complete {
            self.finish_file()?;
            self.finish_empty_files()?;
        }
        Ok(())
    }

    fn take_manifest(&mut self, manifest: pb::CheckpointManifest) -> Result<(), Broken> {
        if manifest_checksum(&manifest) != manifest.crc32c {
            return Err(Broken::retry(&"a manifest arrived damaged"));
        }
        let identity = manifest.checkpoint.and_then(|id| MutationId::try_from(id).ok());
        if identity != Some(self.wanted) {
            return Err(Broken::damaged("another checkpoint than the one that was offered"));
        }
        for file in &manifest.files {
            check_name(Path::new(&file.name)).map_err(Broken::Final)?;
        }
        match &self.manifest {
            None => self.manifest = Some(manifest),
            Some(known) if *known == manifest => {}
            Some(_) => return Err(Broken::damaged("another manifest after a break")),
        }
        Ok(())
    }

    /// Files without any data have no chunk.
    fn finish_empty_files(&mut self) -> Result<(), Broken> {
        while let Some(file) = self.manifest.as_ref().and_then(|manifest| manifest.files.get(self.file)) {
            if file.length > 0 || self.open.is_some() {
                return Ok(());
            }
            let path = self.incoming.join(&file.name);
            self.open = Some(OpenFile::create(&path).map_err(Broken::Final)?);
            self.finish_file()?;
        }
        Ok(())
    }

    fn finish_file(&mut self) -> Result<(), Broken> {
        let (Some(open), Some(manifest)) = (self.open.take(), &self.manifest) else { return Ok(()) };
        if open.crc != manifest.files[self.file].crc32c {
            return Err(Broken::damaged("a file whose checksum is wrong"));
        }
        open.file.sync_all().map_err(Broken::Final)?;
        self.file += 1;
        Ok(())
    }

    fn finish(self) -> io::Result<pb::CheckpointManifest> {
        durable::sync_folder(self.incoming)?;
        self.manifest
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a checkpoint without manifest"))
    }
}

impl OpenFile {
    fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(durable::parent(path)?)?;
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self { file, written: 0, crc: 0 })
    }
}

/// Why a connection's worth ended early.
enum Broken {
    /// Another connection can go on.
    Retry(io::Error),
    /// It is of no use.
    Final(io::Error),
}

impl Broken {
    fn retry(error: &dyn std::fmt::Display) -> Self {
        Self::Retry(io::Error::other(error.to_string()))
    }

    fn damaged(what: &str) -> Self {
        Self::Final(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the node that offered it sent {what}"),
        ))
    }

    fn from_status(status: tonic::Status) -> Self {
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
        let incoming = Path::new("never written to");
        let take = |manifest| {
            let mut download = Download { incoming, wanted: WANTED, manifest: None, file: 0, open: None };
            download.take_manifest(manifest)
        };
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
            let mut download =
                Download { incoming: &incoming, wanted: WANTED, manifest: None, file: 0, open: None };
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
