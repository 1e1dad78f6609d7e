//! How full the data directory's file system is.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::mailbox::{Mail, MailSender};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells the shard now and then how much room there is, for as long as it lives; and others whether the disk answers.
pub(crate) async fn watch(folder: PathBuf, mail: MailSender, works: watch::Sender<bool>) {
    let mut known_to_fail = false;
    loop {
        let folder = folder.clone();
        // A file system that hangs must not take a thread of the runtime with it.
        let measured = tokio::task::spawn_blocking(move || measure(&folder)).await;
        works.send_if_modified(|works| std::mem::replace(works, matches!(measured, Ok(Ok(_)))) != *works);
        match measured {
            Ok(Ok((capacity, available))) => {
                known_to_fail = false;
                if mail.send(Mail::DiskMeasured { capacity, available }).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) if !std::mem::replace(&mut known_to_fail, true) => {
                tracing::warn!(%error, "can't tell how full the data directory's disk is");
            }
            Ok(Err(_)) => {}
            Err(_) => return, // the runtime ends
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Its size, and what an ordinary user can still write, in bytes.
fn measure(folder: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(folder)?;
    Ok((found.f_blocks.saturating_mul(found.f_frsize), found.f_bavail.saturating_mul(found.f_frsize)))
}
