//! Reading mutations back while the log is being written, to teach a learner (§6.1).

use std::io;
use std::sync::{Arc, Mutex};

use words::{Decree, Gpid, Mutation, Record};

use crate::frame::{self, Frame};
use crate::index::{Index, Location};
use crate::{File, FileSystem, segment};

/// Reads what the log holds; it may be used from another thread than the log, and cloned.
#[derive(Clone, Debug)]
pub struct LogReader {
    files: Arc<dyn FileSystem>,
    index: Arc<Mutex<Index>>,
}

impl LogReader {
    pub(crate) fn new(files: Arc<dyn FileSystem>, index: Arc<Mutex<Index>>) -> Self {
        Self { files, index }
    }

    /// The mutations of decrees `from..=to`, in order and without a gap from `from` on: fewer, or none, if the
    /// log does not hold them (any more), and of those after the first, which a learner has already, no more than
    /// `max_bytes` in the log, though at least one.
    ///
    /// Of several records with one decree the last counts, and a record with another identity than the one
    /// before removes all that followed that one (§4.6). The caller asks only for what is committed.
    ///
    /// # Errors
    /// Those of the file system; `InvalidData` if what was written can't be read back.
    pub fn read(
        &self,
        gpid: Gpid,
        from: Decree,
        to: Decree,
        max_bytes: usize,
    ) -> io::Result<Vec<Arc<Mutation>>> {
        let locations = self.find(gpid, from, to, max_bytes);
        let mut mutations = Vec::with_capacity(locations.len());
        let is_same_file = |one: &Location, next: &Location| one.place.segment == next.place.segment;
        for in_one_file in locations.chunk_by(is_same_file) {
            if let Err(error) = self.read_segment(in_one_file, &mut mutations) {
                let failed = mutations.len();
                let decree = Decree(from.0 + failed as u64);
                // Collected since, and being removed: the learner will get a checkpoint.
                if self.find(gpid, decree, decree, 0) != [locations[failed]] {
                    break;
                }
                return Err(error);
            }
        }
        Ok(mutations)
    }

    fn find(&self, gpid: Gpid, from: Decree, to: Decree, max_bytes: usize) -> Vec<Location> {
        self.index.lock().expect("no holder panics").find(gpid, from, to, max_bytes)
    }

    /// Reads what is in one segment, a record at least. The disk is told of all of it first: records of one partition
    /// stand between those of others, and one after the other each would be waited for.
    fn read_segment(&self, locations: &[Location], mutations: &mut Vec<Arc<Mutation>>) -> io::Result<()> {
        let file = self.files.open(&segment::name(locations[0].place.segment))?;
        for location in locations {
            file.will_read(location.place.offset, location.length.into());
        }
        for location in locations {
            mutations.push(read_record(&*file, location)?);
        }
        Ok(())
    }
}

fn read_record(file: &dyn File, location: &Location) -> io::Result<Arc<Mutation>> {
    let mut bytes = vec![0; location.length.get() as usize];
    file.read_at(location.place.offset, &mut bytes)?;
    match frame::decode(location.place, &bytes) {
        Frame::Valid(_, Record::Prepare { mutation, .. }) => Ok(mutation),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{}: the record at offset {} can't be read back; the disk may be failing",
                segment::name(location.place.segment),
                location.place.offset
            ),
        )),
    }
}
