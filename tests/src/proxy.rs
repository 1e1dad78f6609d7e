//! A proxy in front of a server, on the server's own host: what is sent to the server arrives late, each
//! connection's pieces with delays of their own, and at times not at all for a while. A piece of one connection
//! overtakes those of others, never one of its own: TCP forbids that.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::Dice;
use crate::netns::{Harm, Network};

/// Where each replica server listens, its host being its own: what `config.ini` says.
const PORT: u16 = 34801;
/// Pieces under way on one connection; more make the sender wait, as a narrow link does.
const UNDER_WAY: usize = 256;
/// The largest piece.
const PIECE: usize = 16 * 1024;
/// Between two looks for a new connection, or for the end.
const LOOK: Duration = Duration::from_millis(5);
/// Longer than any heartbeat, so that each connection that is to be broken carries a packet meanwhile.
const TO_BREAK: Duration = Duration::from_millis(300);

/// How slow a link is.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How late a piece is, in milliseconds.
    pub delay_ms: Range<u64>,
    /// In each of these spans of time nothing moves in the first half; zero: it never stops.
    pub stall: Duration,
}

/// A server that is slow to reach. Dropping it ends that, and breaks the connections that went through it.
#[derive(Debug)]
pub struct SlowLink {
    network: Arc<Network>,
    host: &'static str,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    pace: Pace,
    began: Instant,
    ended: AtomicBool,
    carried: AtomicU64,
    streams: Mutex<Vec<TcpStream>>,
}

impl SlowLink {
    /// Puts a proxy in front of a host's replica server. Connections that are there are reset, to begin anew through it.
    ///
    /// # Panics
    /// If there is no port for it.
    #[must_use]
    pub fn new(network: &Arc<Network>, host: &'static str, pace: Pace, dice: &mut Dice) -> Self {
        let shared = Arc::new(Shared {
            pace,
            began: Instant::now(),
            ended: AtomicBool::new(false),
            carried: AtomicU64::new(0),
            streams: Mutex::default(),
        });
        let (tell, listener) = sync_channel(1);
        let target = SocketAddr::new(network.address(host).parse().expect("an address"), PORT);
        let (mine, dice) = (Arc::clone(&shared), dice.fork());
        let listening = thread::scope(|scope| {
            // The threads that this one starts stay on the host; ours does not go there.
            let start = move || {
                network.enter(host);
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
                let port = listener.local_addr().expect("bound").port();
                let listening = thread::spawn(move || listen(&listener, target, &mine, dice));
                tell.send((port, listening)).expect("somebody waits");
            };
            scope.spawn(start);
            listener.recv().expect("a proxy")
        });
        let (instead, listening) = listening;
        network.redirect(host, PORT, Some(instead));
        let network = Arc::clone(network);
        let link = Self { network, host, shared, listening: Some(listening) };
        link.break_connections();
        link
    }

    /// How many pieces it took.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    fn break_connections(&self) {
        let others: Vec<&str> =
            self.network.hosts().iter().filter(|host| **host != self.host).copied().collect();
        let wounds = self.network.hurt_both_ways(self.host, &others, Harm::Reset);
        sleep(TO_BREAK);
        self.network.heal(wounds);
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.network.redirect(self.host, PORT, None);
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        for stream in self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn listen(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>, mut dice: Dice) {
    listener.set_nonblocking(true).expect("a socket that doesn't block");
    while !shared.ended.load(Ordering::Relaxed) {
        match listener.accept() {
            // A server that is down refuses: then so does this, by hanging up.
            Ok((near, _)) => {
                if let Ok(far) = TcpStream::connect(target) {
                    let _ = carry(near, far, shared, &mut dice);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(LOOK),
            Err(_) => return,
        }
    }
}

/// Both directions of a connection, each with a thread that reads and one that writes.
fn carry(near: TcpStream, far: TcpStream, shared: &Arc<Shared>, dice: &mut Dice) -> std::io::Result<()> {
    near.set_nonblocking(false)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far.try_clone()?, near.try_clone()?)] {
        let (pieces, queue) = sync_channel(UNDER_WAY);
        let (shared, dice) = (Arc::clone(shared), dice.fork());
        thread::spawn(move || read(from, &pieces, &shared, dice));
        thread::spawn(move || write(to, &queue));
    }
    shared.streams.lock().unwrap_or_else(PoisonError::into_inner).extend([near, far]);
    Ok(())
}

type Piece = (Instant, Vec<u8>);

fn read(mut from: TcpStream, pieces: &SyncSender<Piece>, shared: &Shared, mut dice: Dice) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let due = shared.due(&mut dice);
        shared.carried.fetch_add(1, Ordering::Relaxed);
        if pieces.send((due, buffer[..length].to_vec())).is_err() {
            break;
        }
    }
}

fn write(mut to: TcpStream, pieces: &Receiver<Piece>) {
    for (due, piece) in pieces {
        sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    // The other direction ends with it: whoever still reads is told.
    let _ = to.shutdown(Shutdown::Both);
}

impl Shared {
    /// When what arrived now may go on.
    fn due(&self, dice: &mut Dice) -> Instant {
        let due = Instant::now() + Duration::from_millis(dice.within(self.pace.delay_ms.clone()));
        let span = self.pace.stall;
        if span.is_zero() {
            return due;
        }
        let into = due.duration_since(self.began).as_nanos() % span.as_nanos();
        let into = Duration::from_nanos(u64::try_from(into).unwrap_or(0));
        due + (span / 2).saturating_sub(into)
    }
}
