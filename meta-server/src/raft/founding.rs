//! How a server with an empty disk comes to the others: it founds the cluster with them, or takes its old place.
//!
//! A server whose disk was lost looks like one that never had any. So no cluster is founded unless *all* servers of
//! `config.ini` have said that they have nothing, and by the first of them alone. If there ever was a cluster of
//! these servers, then whatever it promised is on a majority of their disks: one that has it says so, and one that
//! can't be asked is waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::pb;
use settings::Server;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::raft::gate::Gate;
use crate::raft::{Member, MemberId, Raft, network};

/// Between two rounds of questions.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(200);
/// How long another server may take to say who it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the one that leads may take to give this one its place: all that there is has to be copied first.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A server on its way to the others.
pub(crate) struct Newcomer {
    pub(crate) raft: Raft,
    pub(crate) gate: Arc<Gate>,
    pub(crate) me: MemberId,
    pub(crate) server: Server,
    /// All servers of `config.ini`, this one among them.
    pub(crate) servers: Vec<Server>,
}

/// What to do after a round of questions.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Everybody has nothing, and this server is the first.
    Found(BTreeMap<MemberId, Member>),
    /// There is a cluster without it. Who leads is at this address.
    Join(String),
    /// There is a cluster that it is a member of; it will be told.
    Welcome,
    /// Ask again; why, for people.
    Wait(String),
}

impl Newcomer {
    /// Returns once this server is a member that votes.
    pub(crate) async fn arrive(self) {
        let mut said = String::new();
        while !self.votes() {
            let is_new = matches!(self.raft.is_initialized().await, Ok(false));
            let answers = self.ask_all(is_new && self.is_first()).await;
            let line = match self.next_step(is_new, &answers) {
                Step::Found(members) => {
                    self.found(members).await;
                    continue;
                }
                Step::Join(leader) => {
                    self.gate.open();
                    self.join(&leader).await
                }
                Step::Welcome => {
                    self.gate.open();
                    "a member of the meta servers; waiting for the one that leads".to_owned()
                }
                Step::Wait(why) => why,
            };
            if line != said {
                info!("{line}");
                said = line;
            }
            sleep(BETWEEN_ROUNDS).await;
        }
        self.gate.open();
    }

    fn votes(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().voter_ids().any(|voter| voter == self.me)
    }

    /// Whether it is the one that founds a cluster.
    fn is_first(&self) -> bool {
        self.servers.first().is_some_and(|first| first.name == self.server.name)
    }

    fn others(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.name != self.server.name)
    }

    /// Who the others are, in the order of [`Self::others`]; `None` for one that does not say.
    async fn ask_all(&self, founds: bool) -> Vec<Option<pb::Introduction>> {
        let mut asked = JoinSet::new();
        for (index, server) in self.others().enumerate() {
            let (from, address) = (self.me, server.address.clone());
            asked.spawn(async move { (index, ask(&address, from, founds).await.ok()) });
        }
        let mut answers = vec![None; asked.len()];
        for (index, answer) in asked.join_all().await {
            answers[index] = answer;
        }
        answers
    }

    fn next_step(&self, is_new: bool, answers: &[Option<pb::Introduction>]) -> Step {
        let known = || answers.iter().flatten();
        for other in known().filter(|other| !other.members.is_empty()) {
            let is_mine = |member: &&pb::MetaMember| member.id == self.me;
            let place_is_taken =
                other.members.iter().any(|member| member.name == self.server.name && member.id != self.me);
            match other.members.iter().find(is_mine) {
                Some(member) if member.votes || !place_is_taken => return Step::Welcome,
                _ if other.leader.is_empty() => {}
                _ => return Step::Join(other.leader.clone()),
            }
        }
        if known().any(|other| !other.is_new) {
            return Step::Wait("the other meta servers have no leader; waiting for one".to_owned());
        }
        let silent = self.others().zip(answers).filter(|(_, answer)| answer.is_none());
        let silent: Vec<String> =
            silent.map(|(server, _)| format!("{} at {}", server.name, server.address)).collect();
        if !silent.is_empty() {
            return Step::Wait(format!(
                "this meta server has nothing, and a first start needs all of them; waiting for {}",
                silent.join(", ")
            ));
        }
        if !self.is_first() || !is_new {
            return Step::Wait("waiting for the first meta server, which founds the cluster".to_owned());
        }
        let ids = std::iter::once(self.me).chain(known().map(|other| other.id));
        let servers = std::iter::once(&self.server).chain(self.others());
        let member = |server: &Server| Member { name: server.name.clone(), address: server.address.clone() };
        Step::Found(ids.zip(servers.map(member)).collect())
    }

    async fn found(&self, members: BTreeMap<MemberId, Member>) {
        info!("nobody has anything: this server founds the cluster of {} meta servers", members.len());
        if let Err(error) = self.raft.initialize(members).await {
            warn!("the cluster is not founded: {error}");
        }
    }

    /// Asks for a place; says what came of it.
    async fn join(&self, leader: &str) -> String {
        let Some(mut client) = network::client(leader) else {
            return format!("`{leader}` leads, which is no address");
        };
        let Server { name, address } = self.server.clone();
        let request = pb::JoinRequest { id: self.me, name, address };
        match timeout(JOIN_TIMEOUT, client.join(request)).await {
            Ok(Ok(_)) => "a member of the meta servers again".to_owned(),
            Ok(Err(status)) => format!("not a member of the meta servers: {}", status.message()),
            Err(_) => format!("{leader} leads, and does not answer"),
        }
    }
}

/// Who the meta server at an address is; or why it does not say, for people.
pub(crate) async fn ask(address: &str, from: MemberId, founds: bool) -> Result<pb::Introduction, String> {
    let mut client = network::client(address).ok_or("that is no address")?;
    match timeout(ANSWER_TIMEOUT, client.introduce(pb::IntroduceRequest { from, founds })).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer".to_owned()),
    }
}
