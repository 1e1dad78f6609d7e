//! How full the data directory's file system is, and whether its disk answers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::log_thread::AtDisk;
use crate::mailbox::{Mail, MailSender};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// A disk that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tells the shard now and then how much room there is, for as long as it lives; and others, and the log, whether the
/// disk answers.
pub(crate) async fn watch(folder: PathBuf, mail: MailSender, works: watch::Sender<bool>, log: AtDisk) {
    let mut measuring = None;
    loop {
        let folder = folder.clone();
        // A file system that hangs must not take a thread of the runtime with it, nor another thread with each look.
        let answer = measuring.get_or_insert_with(|| spawn_blocking(move || measure(&folder)));
        let mut trouble = (log.lasts() > PATIENCE).then(|| "a write of the prepare log hangs".to_owned());
        match timeout(PATIENCE, answer).await {
            Err(_) => trouble = Some("asked how full it is, it does not answer".to_owned()),
            Ok(Err(_)) => return, // the runtime ends
            Ok(Ok(measured)) => {
                measuring = None;
                match measured {
                    Ok((capacity, available)) => {
                        if mail.send(Mail::DiskMeasured { capacity, available }).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => trouble = Some(format!("can't tell how full it is: {error}")),
                }
            }
        }
        tell(&works, trouble);
        sleep(INTERVAL).await;
    }
}

/// When trouble begins, and when it ends.
fn tell(works: &watch::Sender<bool>, trouble: Option<String>) {
    let is_news =
        works.send_if_modified(|works| std::mem::replace(works, trouble.is_none()) != trouble.is_none());
    match trouble {
        Some(trouble) if is_news => tracing::error!(trouble, "the data directory's disk does not work"),
        None if is_news => tracing::info!("the data directory's disk works again"),
        Some(_) | None => {}
    }
}

/// Its size, and what an ordinary user can still write, in bytes.
fn measure(folder: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(folder)?;
    Ok((found.f_blocks.saturating_mul(found.f_frsize), found.f_bavail.saturating_mul(found.f_frsize)))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::mailbox::mailbox;

    #[tokio::test]
    async fn a_write_of_the_log_that_hangs_is_trouble_until_it_is_over() {
        let (mail, _reports, _mailbox) = mailbox();
        let (works, mut disk) = watch::channel(true);
        let log = AtDisk::default();
        log.set(Instant::now().checked_sub(PATIENCE * 2));
        let watching = tokio::spawn(watch(std::env::temp_dir(), mail, works, log.clone()));
        disk.changed().await.expect("it watches");
        assert!(!*disk.borrow_and_update());
        log.set(None);
        disk.changed().await.expect("it watches");
        assert!(*disk.borrow_and_update());
        watching.abort();
    }
}
