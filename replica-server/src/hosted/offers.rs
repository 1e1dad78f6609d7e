//! Checkpoints that other nodes can fetch (§6.2): linked files that stay as they are whatever the app does, until
//! nobody has fetched from them for a while.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use prost::Message;
use proto::pb;
use words::{Gpid, Life, MutationId, Time};

use super::app::DurableCheckpoint;
use super::folder::ReplicaFolder;
use super::framework;
use crate::clock;

/// An offer that nobody fetched from for this long is withdrawn; its learner asks again if it still needs one.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// Offers at once, on this node.
const MAX_OFFERS: usize = 256;

/// All offers of this node.
pub(crate) struct Offers {
    offers: DashMap<(Gpid, u64), Arc<Offer>>,
    next: AtomicU64,
}

/// One checkpoint that can be fetched. Its folder goes with it.
pub(crate) struct Offer {
    /// What is in it.
    pub(crate) manifest: pb::CheckpointManifest,
    folder: PathBuf,
    paths: Vec<PathBuf>,
    last_used: AtomicU64,
}

impl Offers {
    /// None yet. Numbers of different lives differ, so that nobody fetches from an offer that was not meant.
    pub(crate) fn new(life: Life) -> Self {
        Self { offers: DashMap::new(), next: AtomicU64::new(life.0 << 32 | 1) }
    }

    fn new_number(&self) -> io::Result<u64> {
        if self.offers.len() >= MAX_OFFERS {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("{MAX_OFFERS} checkpoints are offered already"),
            ));
        }
        Ok(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Links a checkpoint into the replica's folder, and makes it ready to be fetched: reads all of it once, for the
    /// checksums. Returns the offer's number.
    ///
    /// # Errors
    /// What the file system says; `QuotaExceeded` if there are too many just now.
    pub(crate) fn add(
        &self,
        gpid: Gpid,
        folder: &ReplicaFolder,
        checkpoint: DurableCheckpoint,
    ) -> io::Result<(MutationId, u64)> {
        let number = self.new_number()?;
        // Its folder goes with it if what follows fails.
        let mut offer = Offer {
            manifest: pb::CheckpointManifest::default(),
            folder: folder.offer(number),
            paths: Vec::new(),
            last_used: AtomicU64::new(clock::now().time.0),
        };
        let linked = checkpoint.link_into(&offer.folder)?;
        offer.paths = linked.state.files.iter().map(|name| linked.state.folder.join(name)).collect();
        let (checkpoint, sessions) = framework::read(&linked.framework_file)?;
        let mut files = Vec::with_capacity(offer.paths.len());
        for (name, path) in linked.state.files.iter().zip(&offer.paths) {
            let name = name.to_str().ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is not UTF-8", name.display()))
            })?;
            let (length, crc32c) = checksum(path)?;
            files.push(pb::CheckpointFile { name: name.to_owned(), length, crc32c });
        }
        offer.manifest = pb::CheckpointManifest {
            checkpoint: Some(checkpoint.into()),
            files,
            blob: linked.state.blob,
            sessions: Bytes::from(sessions),
            crc32c: 0,
        };
        offer.manifest.crc32c = manifest_checksum(&offer.manifest);
        self.offers.insert((gpid, number), Arc::new(offer));
        Ok((checkpoint, number))
    }

    /// The offer of that number.
    pub(crate) fn get(&self, gpid: Gpid, number: u64) -> Option<Arc<Offer>> {
        let offer = self.offers.get(&(gpid, number)).map(|offer| Arc::clone(&offer))?;
        offer.last_used.store(clock::now().time.0, Ordering::Relaxed);
        Some(offer)
    }

    /// Withdraws what nobody has fetched from for long. Takes as long as to remove the files.
    pub(crate) fn withdraw_idle(&self) {
        let (now, mut idle) = (clock::now().time, Vec::new());
        self.offers.retain(|_, offer| {
            let stays = now.since(Time(offer.last_used.load(Ordering::Relaxed))) < IDLE_LIMIT
                || Arc::strong_count(offer) > 1;
            if !stays {
                // Its files go once nobody waits for the others any more.
                idle.push(Arc::clone(offer));
            }
            stays
        });
    }
}

/// Of all that a manifest says: what of a checkpoint is no file must not change on its way either (§6.2).
pub(super) fn manifest_checksum(manifest: &pb::CheckpointManifest) -> u32 {
    crc32c::crc32c(&pb::CheckpointManifest { crc32c: 0, ..manifest.clone() }.encode_to_vec())
}

impl Offer {
    /// Reads a piece of one of its files, as long as `buffer` or up to the file's end.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn read(&self, file: usize, offset: u64, length: usize) -> io::Result<Bytes> {
        use std::os::unix::fs::FileExt;
        self.last_used.store(clock::now().time.0, Ordering::Relaxed);
        let mut piece = vec![0; length];
        File::open(&self.paths[file])?.read_exact_at(&mut piece, offset)?;
        Ok(Bytes::from(piece))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let _ = removal::remove_folder(&self.folder);
    }
}

/// The length of a file, and its checksum.
pub(super) fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    checksum_of(&mut File::open(path)?)
}

/// The same for an open one, which is then at its end.
pub(super) fn checksum_of(file: &mut File) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; 256 * 1024];
    let (mut length, mut crc) = (0, 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((length, crc));
        }
        crc = crc32c::crc32c_append(crc, &buffer[..read]);
        length += read as u64;
    }
}
