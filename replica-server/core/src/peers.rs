//! The other nodes, as this one knows them: their lives, and the heartbeats between (§1, §5).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use words::{Ballot, Claim, Envelope, Gpid, Heartbeat, HeartbeatAck, Life, NodeId, PeerMessage, Time};

use crate::Settings;

/// Heartbeats whose acknowledgement is waited for; older ones are forgotten.
const HEARTBEATS_IN_FLIGHT: usize = 32;

/// Nodes that this one can know: what strangers say must not fill its memory.
const MAX_PEERS: usize = 10_000;

/// Envelopes for other nodes, and what is known of them.
#[derive(Debug)]
pub(crate) struct Peers {
    me: NodeId,
    life: Life,
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// 0 until it said hello.
    life: Life,
    /// Not before this time is it asked for its life again.
    hello_at: Time,
    last_heard: Time,
    /// The partitions that need its lease.
    partitions: BTreeSet<Gpid>,
    next_heartbeat: Time,
    sequence: u64,
    in_flight: VecDeque<Sent>,
    newest_acked: u64,
}

/// A heartbeat that was sent.
#[derive(Debug)]
struct Sent {
    sequence: u64,
    at: Time,
    claimed: Vec<(Gpid, Ballot)>,
}

/// What to do with an envelope that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It is meant for this node and life.
    Deliver,
    /// As before, and it is the first from this life of its sender.
    DeliverFirst,
    /// Only the handshake; the sender's life was not known before.
    Met,
    /// Not for this node, or of an earlier life.
    Drop,
}

/// What an acknowledged heartbeat grants: `None` where it makes an exception.
pub(crate) type Granted = Vec<(Gpid, Ballot, Option<Time>)>;

impl Peers {
    pub(crate) fn new(me: NodeId, life: Life) -> Self {
        Self { me, life, peers: BTreeMap::new() }
    }

    /// Addresses a message. To a node whose life is not known goes a `Hello` instead: whoever has something
    /// to say sends it again when the answer is there.
    pub(crate) fn address(
        &mut self,
        now: Time,
        settings: &Settings,
        to: NodeId,
        body: PeerMessage,
    ) -> Option<Envelope> {
        assert!(to != self.me, "no message goes to oneself: {body}");
        let peer = self.peers.entry(to).or_default();
        let body = if peer.life != Life(0) {
            body
        } else if peer.hello_at <= now {
            peer.hello_at = now + settings.resend;
            PeerMessage::Hello
        } else {
            return None;
        };
        Some(Envelope { from: self.me, from_life: self.life, to, to_life: peer.life, body })
    }

    /// Checks who a message is from and for. Pushes what is to be said in return.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        envelope: &Envelope,
        replies: &mut Vec<Envelope>,
    ) -> Received {
        if envelope.to != self.me || envelope.from == self.me || envelope.from_life == Life(0) {
            return Received::Drop;
        }
        let handshake = matches!(envelope.body, PeerMessage::Hello | PeerMessage::Welcome);
        if envelope.to_life > self.life {
            return Received::Drop;
        }
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&envelope.from) {
            return Received::Drop;
        }
        let peer = self.peers.entry(envelope.from).or_default();
        if envelope.from_life < peer.life {
            return Received::Drop;
        }
        let first = envelope.from_life > peer.life;
        peer.life = envelope.from_life;
        peer.last_heard = now;
        let stale = envelope.to_life < self.life && !(handshake && envelope.to_life == Life(0));
        if stale || envelope.body == PeerMessage::Hello {
            let (from, from_life) = (self.me, self.life);
            let (to, to_life) = (envelope.from, envelope.from_life);
            replies.push(Envelope { from, from_life, to, to_life, body: PeerMessage::Welcome });
        }
        match (stale || handshake, first) {
            (true, true) => Received::Met,
            (true, false) => Received::Drop,
            (false, true) => Received::DeliverFirst,
            (false, false) => Received::Deliver,
        }
    }

    /// Which nodes' leases a partition needs, from now on.
    pub(crate) fn set_partners(&mut self, now: Time, gpid: Gpid, partners: &[NodeId]) {
        for &node in partners {
            self.peers.entry(node).or_default();
        }
        for (node, peer) in &mut self.peers {
            if !partners.contains(node) {
                peer.partitions.remove(&gpid);
            } else if peer.partitions.insert(gpid) {
                // The first heartbeat goes out at once (§5.1), and silence counts from here.
                peer.next_heartbeat = now;
                peer.last_heard = peer.last_heard.max(now);
            }
        }
    }

    /// A partition may claim leases from now on: heartbeats go out at once.
    pub(crate) fn beat_now(&mut self, now: Time, partners: &[NodeId]) {
        for node in partners {
            if let Some(peer) = self.peers.get_mut(node) {
                peer.next_heartbeat = now;
            }
        }
    }

    /// The nodes to which a heartbeat is due, each with whether it has been silent for too long.
    pub(crate) fn due(&mut self, now: Time, settings: &Settings) -> Vec<(NodeId, bool)> {
        let mut due = Vec::new();
        for (&node, peer) in &mut self.peers {
            if peer.partitions.is_empty() || peer.next_heartbeat > now {
                continue;
            }
            // This node itself was away, stopped or starved: what the other said meanwhile still waits to be
            // taken, so its silence proves nothing.
            if peer.next_heartbeat + settings.heartbeat * 3 <= now {
                peer.last_heard = now;
            }
            due.push((node, peer.last_heard + settings.failure_timeout <= now));
        }
        due
    }

    pub(crate) fn partitions(&self, node: NodeId) -> Vec<Gpid> {
        self.peers.get(&node).map(|peer| peer.partitions.iter().copied().collect()).unwrap_or_default()
    }

    /// The next heartbeat to a node.
    pub(crate) fn heartbeat(
        &mut self,
        now: Time,
        settings: &Settings,
        node: NodeId,
        claims: Vec<Claim>,
    ) -> Heartbeat {
        let peer = self.peers.entry(node).or_default();
        peer.next_heartbeat = now + settings.heartbeat;
        peer.sequence += 1;
        let claimed = claims.iter().map(|claim| (claim.gpid, claim.ballot)).collect();
        peer.in_flight.push_back(Sent { sequence: peer.sequence, at: now, claimed });
        if peer.in_flight.len() > HEARTBEATS_IN_FLIGHT {
            peer.in_flight.pop_front();
        }
        Heartbeat { sequence: peer.sequence, claims }
    }

    /// A node was silent for so long that it was suspected: not again before as long.
    pub(crate) fn suspected(&mut self, now: Time, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.last_heard = now;
        }
    }

    /// What an acknowledgement grants, counted from when its heartbeat was sent (§5.2). One of an older
    /// heartbeat than the newest one acknowledged grants nothing.
    pub(crate) fn on_ack(&mut self, settings: &Settings, from: NodeId, ack: &HeartbeatAck) -> Granted {
        let Some(peer) = self.peers.get_mut(&from) else { return Vec::new() };
        if ack.sequence <= peer.newest_acked {
            return Vec::new();
        }
        // Acknowledgements of those before it come too late now, whether they come or not.
        peer.in_flight.retain(|sent| sent.sequence >= ack.sequence);
        if let Some(sent) = peer.in_flight.pop_front_if(|sent| sent.sequence == ack.sequence) {
            peer.newest_acked = ack.sequence;
            let exceptions: BTreeSet<Gpid> = ack.exceptions.iter().copied().collect();
            let until = sent.at + settings.lease;
            let grant = |(gpid, ballot)| (gpid, ballot, (!exceptions.contains(&gpid)).then_some(until));
            return sent.claimed.into_iter().map(grant).collect();
        }
        Vec::new()
    }

    pub(crate) fn deadline(&self) -> Time {
        let waiting = self.peers.values().filter(|peer| !peer.partitions.is_empty());
        waiting.map(|peer| peer.next_heartbeat).min().unwrap_or(Time::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const GPID: Gpid = Gpid::new(1, 0);

    fn envelope(from_life: u64, to_life: u64, body: PeerMessage) -> Envelope {
        Envelope { from: OTHER, from_life: Life(from_life), to: ME, to_life: Life(to_life), body }
    }

    fn beat(peers: &mut Peers, at: u64) -> u64 {
        let claims = vec![Claim { gpid: GPID, ballot: Ballot(1), last_committed: words::Decree(0) }];
        peers.heartbeat(Time(at), &Settings::default(), OTHER, claims).sequence
    }

    #[test]
    fn messages_of_another_life_are_dropped() {
        let mut peers = Peers::new(ME, Life(5));
        let mut replies = Vec::new();
        let ack = PeerMessage::HeartbeatAck(HeartbeatAck { sequence: 1, exceptions: Vec::new() });
        assert_eq!(peers.receive(Time(0), &envelope(3, 4, ack.clone()), &mut replies), Received::Met);
        assert_eq!(replies.pop().map(|e| (e.to_life, e.body)), Some((Life(3), PeerMessage::Welcome)));
        assert_eq!(peers.receive(Time(0), &envelope(2, 5, ack.clone()), &mut replies), Received::Drop);
        assert_eq!(peers.receive(Time(0), &envelope(3, 5, ack.clone()), &mut replies), Received::Deliver);
        assert_eq!(peers.receive(Time(0), &envelope(4, 5, ack), &mut replies), Received::DeliverFirst);
        assert!(replies.is_empty());
    }

    #[test]
    fn a_stranger_is_greeted_first() {
        let mut peers = Peers::new(ME, Life(5));
        let settings = Settings::default();
        let body = || PeerMessage::Welcome;
        let first = peers.address(Time(0), &settings, OTHER, body()).unwrap();
        assert_eq!((first.body, first.to_life), (PeerMessage::Hello, Life(0)));
        assert_eq!(peers.address(Time(1), &settings, OTHER, body()), None, "not in every message");
        let mut replies = Vec::new();
        let welcome = envelope(7, 5, PeerMessage::Welcome);
        assert_eq!(peers.receive(Time(2), &welcome, &mut replies), Received::Met);
        assert_eq!(peers.address(Time(3), &settings, OTHER, body()).unwrap().to_life, Life(7));
    }

    #[test]
    fn a_lease_counts_from_the_sending_and_old_acknowledgements_grant_nothing() {
        let mut peers = Peers::new(ME, Life(5));
        let settings = Settings::default();
        let (first, second) = (beat(&mut peers, 100), beat(&mut peers, 200));
        let ack = |sequence, exceptions| HeartbeatAck { sequence, exceptions };
        let until = Some(Time(200) + settings.lease);
        assert_eq!(peers.on_ack(&settings, OTHER, &ack(second, vec![])), [(GPID, Ballot(1), until)]);
        assert_eq!(peers.on_ack(&settings, OTHER, &ack(first, vec![])), []);
        assert_eq!(peers.on_ack(&settings, OTHER, &ack(second, vec![])), []);
        let third = beat(&mut peers, 300);
        assert_eq!(peers.on_ack(&settings, OTHER, &ack(third, vec![GPID])), [(GPID, Ballot(1), None)]);
    }
}
