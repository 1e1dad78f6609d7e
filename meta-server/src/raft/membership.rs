//! Who the meta servers are: shown, and changed while they run, one at a time.
//!
//! One that votes counts for every majority, so nobody votes before it has what there is, and no change is begun
//! that a majority of those who would vote then could not finish.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, Membership};
use proto::pb;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tonic::Status;
use tracing::{info, warn};

use crate::raft::founding::ask;
use crate::raft::{Member, MemberId, Metrics, Raft};

/// The most meta servers that there may be.
const MOST: usize = 7;

/// How long a new one may take to learn what there is.
const TO_LEARN: Duration = Duration::from_secs(30);

/// How long one that was removed is waited for to learn that.
const TO_HEAR: Duration = Duration::from_secs(1);

/// The membership, and how it is changed.
pub(crate) struct Members {
    raft: Raft,
    me: MemberId,
    /// One change at a time.
    changing: Mutex<()>,
}

type Known = Membership<MemberId, Member>;

impl Members {
    pub(crate) fn new(raft: Raft, me: MemberId) -> Self {
        Self { raft, me, changing: Mutex::new(()) }
    }

    /// The meta servers, each asked how it is.
    pub(crate) async fn list(&self) -> Vec<pb::MetaServerStatus> {
        let known = self.known();
        let mut asked = JoinSet::new();
        for (&id, member) in known.nodes() {
            let (me, member, votes) = (self.me, member.clone(), votes(&known, id));
            asked.spawn(async move {
                let answer = ask(&member.address, me, false).await.ok().filter(|answer| answer.id == id);
                let Member { name, address } = member;
                let reachable = answer.is_some();
                let pb::Introduction { term, last_applied, role, .. } = answer.unwrap_or_default();
                pb::MetaServerStatus { name, address, id, votes, reachable, role, term, last_applied }
            });
        }
        let mut all = asked.join_all().await;
        all.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        all
    }

    /// A server that was started with nothing becomes one of the meta servers.
    pub(crate) async fn add(&self, name: &str, address: &str) -> Result<String, Status> {
        check(name, address)?;
        let _alone = self.begin()?;
        let answer = ask(address, self.me, false).await.map_err(|why| {
            Status::failed_precondition(format!(
                "no meta server answers at {address} ({why}); start it first, with `--name {name}`"
            ))
        })?;
        if answer.name != name {
            let message = format!("the meta server at {address} is called {}", answer.name);
            return Err(Status::failed_precondition(message));
        }
        let known = self.known();
        if votes(&known, answer.id) {
            return Err(Status::already_exists(format!("{name} is one of the meta servers already")));
        }
        let is_known = |member: &pb::MetaMember| known.get_node(&member.id).is_some();
        if !answer.members.is_empty() && !answer.members.iter().any(is_known) {
            return Err(Status::failed_precondition(format!(
                "{name} belongs to other meta servers; start it with an empty data directory"
            )));
        }
        if let Some((_, other)) = known.nodes().find(|(_, it)| it.address == address && it.name != name) {
            return Err(Status::already_exists(format!("{} is at {address}", other.name)));
        }
        if known.voter_ids().count() >= MOST && !known.nodes().any(|(_, other)| other.name == name) {
            return Err(Status::failed_precondition(format!(
                "there are {MOST} meta servers; more are no help"
            )));
        }
        let member = Member { name: name.to_owned(), address: address.to_owned() };
        self.take_in(answer.id, member).await?;
        Ok(format!("{name} at {address} is one of {} meta servers", self.known().voter_ids().count()))
    }

    /// A server that lost its disk takes its place again. It can't go on as who it was: what that one had promised is
    /// lost.
    pub(crate) async fn join(&self, id: MemberId, member: Member) -> Result<(), Status> {
        check(&member.name, &member.address)?;
        let _alone = self.begin()?;
        let known = self.known();
        let is_expected = |(&other, it): (&MemberId, &Member)| it.name == member.name && votes(&known, other);
        if !known.nodes().any(is_expected) {
            return Err(Status::failed_precondition(format!(
                "{0} is none of them; `admin meta add {0} {1}` makes it one",
                member.name, member.address
            )));
        }
        self.take_in(id, member).await
    }

    /// One of the meta servers is one no more.
    pub(crate) async fn remove(&self, name: &str) -> Result<String, Status> {
        let _alone = self.begin()?;
        self.finish_change().await?;
        let known = self.known();
        let named: BTreeSet<MemberId> =
            known.nodes().filter(|(_, member)| member.name == name).map(|(&id, _)| id).collect();
        if named.is_empty() {
            let names: Vec<&str> = known.nodes().map(|(_, member)| member.name.as_str()).collect();
            return Err(Status::not_found(format!(
                "no meta server `{name}`; there are {}",
                names.join(", ")
            )));
        }
        let voters: BTreeSet<MemberId> = known.voter_ids().filter(|id| !named.contains(id)).collect();
        if voters.is_empty() {
            return Err(Status::failed_precondition(format!("{name} is the only meta server")));
        }
        if voters.len() < known.voter_ids().count() {
            self.check_majority(&known, &voters).await?;
            // It hears that it votes no more before nobody talks to it any more. This one knows it by itself.
            self.change(voters.clone(), !named.contains(&self.me)).await?;
            self.wait_until_told(&named).await;
        }
        if !named.contains(&self.me) {
            self.change(ChangeMembers::RemoveNodes(named), true).await?;
        }
        Ok(format!("{name} is none of the {} meta servers any more; stop it", voters.len()))
    }

    /// Finishes a change that another one had begun when it lost its lead.
    pub(crate) async fn finish_change(&self) -> Result<(), Status> {
        let known = self.known();
        match known.get_joint_config().as_slice() {
            [_, .., last] => self.change(last.clone(), true).await,
            _ => Ok(()),
        }
    }

    fn begin(&self) -> Result<MutexGuard<'_, ()>, Status> {
        let under_way =
            |_| Status::failed_precondition("a change of the meta servers is under way; try again");
        self.changing.try_lock().map_err(under_way)
    }

    fn known(&self) -> Known {
        self.raft.metrics().borrow().membership_config.membership().clone()
    }

    /// A server learns what there is, and then votes; others of its name don't any more, if they are gone.
    async fn take_in(&self, id: MemberId, member: Member) -> Result<(), Status> {
        self.finish_change().await?;
        let known = self.known();
        let is_old = |(other, it): &(&MemberId, &Member)| it.name == member.name && **other != id;
        for (&old, it) in known.nodes().filter(is_old).filter(|(old, _)| votes(&known, **old)) {
            if ask(&it.address, self.me, false).await.is_ok_and(|answer| answer.id == old) {
                return Err(Status::already_exists(format!("{it} is there; choose another name")));
            }
        }
        info!("{member} comes in");
        let learning = self.raft.add_learner(id, member.clone(), false).await.map_err(refused)?;
        let entry = learning.log_id.index;
        self.wait_until_at(&BTreeSet::from([id]), entry, TO_LEARN).await.map_err(|()| {
            let spent = TO_LEARN.as_secs();
            Status::deadline_exceeded(format!("{} has not learned what there is in {spent} s", member.name))
        })?;
        let known = self.known();
        let old: BTreeSet<MemberId> = known.nodes().filter(is_old).map(|(&old, _)| old).collect();
        let voters: BTreeSet<MemberId> =
            known.voter_ids().filter(|voter| !old.contains(voter)).chain([id]).collect();
        self.check_majority(&known, &voters).await?;
        self.change(voters, false).await?;
        let learners =
            old.into_iter().filter(|old| self.known().get_node(old).is_some()).collect::<BTreeSet<_>>();
        if !learners.is_empty() {
            self.change(ChangeMembers::RemoveNodes(learners), true).await?;
        }
        info!("{member} votes");
        Ok(())
    }

    async fn change(
        &self,
        change: impl Into<ChangeMembers<MemberId, Member>>,
        retain: bool,
    ) -> Result<(), Status> {
        self.raft.change_membership(change, retain).await.map(drop).map_err(refused)
    }

    /// Whether a majority of those who would vote is there. Without it a change could be begun and not finished.
    async fn check_majority(&self, known: &Known, voters: &BTreeSet<MemberId>) -> Result<(), Status> {
        let mut silent = vec![];
        for voter in voters.iter().filter(|voter| **voter != self.me) {
            let member = known.get_node(voter).cloned().unwrap_or_default();
            if !ask(&member.address, self.me, false).await.is_ok_and(|answer| answer.id == *voter) {
                silent.push(member.to_string());
            }
        }
        if silent.len() * 2 < voters.len() {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "of the {} meta servers that there would be, {} can't be reached; start it first",
            voters.len(),
            silent.join(", ")
        )))
    }

    async fn wait_until_told(&self, members: &BTreeSet<MemberId>) {
        let last = self.raft.metrics().borrow().last_log_index.unwrap_or(0);
        if self.wait_until_at(members, last, TO_HEAR).await.is_err() {
            warn!("a meta server that is removed does not know that; it is down or cut off");
        }
    }

    /// Waits until these have all entries up to one.
    async fn wait_until_at(
        &self,
        members: &BTreeSet<MemberId>,
        entry: u64,
        most: Duration,
    ) -> Result<(), ()> {
        let members = members.clone();
        let is_there = move |metrics: &Metrics| {
            let reached = metrics.replication.as_ref().is_some_and(|progress| {
                let at = |id| progress.get(id).copied().flatten().map(|at| at.index);
                members.iter().all(|id| *id == metrics.id || at(id) >= Some(entry))
            });
            // Without the lead nothing more comes, and the next step says so.
            reached || metrics.replication.is_none()
        };
        self.raft.wait(Some(most)).metrics(is_there, "progress").await.map(drop).map_err(|_| ())
    }
}

fn votes(known: &Known, id: MemberId) -> bool {
    known.voter_ids().any(|voter| voter == id)
}

fn check(name: &str, address: &str) -> Result<(), Status> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        return Err(Status::invalid_argument(
            "a meta server's name has 1 to 64 letters, digits and _ . -, for example meta4",
        ));
    }
    let port = address.rsplit_once(':').and_then(|(host, port)| {
        let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
        port.parse::<u16>().ok().filter(|port| is_host && *port > 0)
    });
    if address.len() > 256 || port.is_none() {
        let message = "write the meta server's address as HOST:PORT, for example 127.0.0.1:34604";
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

type Refusal = RaftError<MemberId, ClientWriteError<MemberId, Member>>;

fn refused(error: Refusal) -> Status {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
            Status::aborted("the meta server lost its lead; the outcome is unknown, `admin meta ls` shows it")
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            Status::failed_precondition(format!("{error}; try again"))
        }
        RaftError::Fatal(fatal) => Status::aborted(format!("the meta server stops: {fatal}")),
    }
}
