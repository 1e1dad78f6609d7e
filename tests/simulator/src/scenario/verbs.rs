//! What each verb does to the world.

use std::time::Duration;

use meta_core::{AdminReply, AdminRequest};
use replica_core::Event;
use words::{Gpid, MetaToNode};

use super::arms::{Arm, Order, Pattern, StrikeKind};
use super::expect::{Judgement, PATIENCE, Wanted};
use super::operations::{Asked, Outcome};
use super::parse::Statement;
use super::run::expected;
use super::words::{Link, Party};
use crate::clock::Moment;
use crate::machine::{APP_NAME, APP_TYPE, Loss};
use crate::tally_app::Request;
use crate::violation::{Checked, Violation};
use crate::witness::OpId;
use crate::world::World;

/// Between two attempts of an operation that must succeed.
const AGAIN: Duration = Duration::from_millis(20);

impl World<'_> {
    pub(super) fn carry_out_statement(&mut self, statement: &Statement) -> Checked {
        match statement {
            Statement::Form(machines) => self.form(machines),
            Statement::Start(parties) => parties.iter().try_for_each(|party| match party {
                Party::Meta => self.start_meta(),
                Party::Machine(machine) => self.known(*machine).and_then(|index| self.start(index)),
            }),
            Statement::Stop(machine) => self.stop(*machine),
            Statement::Strike { party, kind, at } => self.strike_party(*party, *kind, at.as_ref()),
            Statement::Cut(link) => self.cut(*link),
            Statement::Heal => {
                self.network.heal();
                Ok(())
            }
            Statement::Arm(arm) => {
                self.script.arms.push(arm.clone());
                Ok(())
            }
            Statement::Disarm => {
                self.script.arms.clear();
                Ok(())
            }
            Statement::Release(name) => match self.release(Some(name)) {
                0 => Err(expected(format!("nothing is held as `{name}`"))),
                _ => Ok(()),
            },
            other => self.carry_out_on_disk(other),
        }
    }

    fn carry_out_on_disk(&mut self, statement: &Statement) -> Checked {
        match *statement {
            Statement::LoseData(Party::Machine(machine)) => return self.wreck(machine, Loss::Everything),
            Statement::LoseData(Party::Meta) => self.lose_meta(),
            Statement::LoseApp(machine) => return self.wreck(machine, Loss::App(Gpid::new(1, 0))),
            Statement::RotLog(machine) => return self.wreck(machine, Loss::Rot),
            Statement::FailSync(machine) => {
                let index = self.known(machine)?;
                self.machines[index].disk.log.fail_next_sync();
            }
            Statement::FailWrite(machine) => {
                let index = self.known(machine)?;
                self.machines[index].disk.log.fail_next_write();
            }
            Statement::FailWork(what, machine) => {
                let index = self.known(machine)?;
                self.script.failures.insert((what, index));
            }
            Statement::DelaySync(machine, by) => {
                let index = self.known(machine)?;
                self.script.sync_delays.insert(index, by);
            }
            Statement::SlowDisk(machine, span) => {
                let index = self.known(machine)?;
                self.machines[index].slow_until = self.now + span;
            }
            _ => return self.carry_out_order(statement),
        }
        Ok(())
    }

    /// What an operator asks for, or the scenario in the meta server's place.
    fn carry_out_order(&mut self, statement: &Statement) -> Checked {
        let gpid = Gpid::new(1, 0);
        match statement {
            Statement::Propose { kind, node, refused } => {
                let request = AdminRequest::Propose { gpid, kind: *kind, node: node.clone() };
                self.administrate(request, *refused)
            }
            Statement::Balance { kind, from, to, refused } => {
                let (from, to) = (from.clone(), to.clone());
                self.administrate(AdminRequest::Balance { gpid, kind: *kind, from, to }, *refused)
            }
            Statement::AcceptLoss { node, others_are_stopped, refused } => {
                let (node, others_are_stopped) = (node.clone(), *others_are_stopped);
                self.administrate(AdminRequest::AcceptLoss { gpid, node, others_are_stopped }, *refused)
            }
            Statement::Recover { others_are_stopped, refused } => {
                let (leave_out, others_are_stopped) = (vec![], *others_are_stopped);
                self.administrate(AdminRequest::Recover { leave_out, others_are_stopped }, *refused)
            }
            Statement::Diagnose(lost) => self.diagnose(*lost),
            Statement::SetReplicas(count) => {
                let request = AdminRequest::SetReplicaCount { name: APP_NAME.to_owned(), count: *count };
                self.administrate(request, false)
            }
            Statement::Drop => self.administrate(
                AdminRequest::DropApp { name: APP_NAME.to_owned(), hold_seconds: Some(0) },
                false,
            ),
            Statement::Tell { machine, command, ballot } => {
                let index = self.running(*machine)?;
                let (ballot, command) = (*ballot, *command);
                self.hand_in(index, Event::Meta(MetaToNode::Command { gpid, ballot, command }));
                Ok(())
            }
            other => self.carry_out_request(other),
        }
    }

    /// What clients do, what is expected, and time.
    fn carry_out_request(&mut self, statement: &Statement) -> Checked {
        match statement {
            Statement::Do { asked, times, wanted } => {
                (1..*times).try_for_each(|_| self.operate(asked, None))?;
                self.operate(asked, wanted.as_ref())
            }
            Statement::Begin { labels, asked } => labels
                .iter()
                .try_for_each(|label| self.begin_operation(Some(label), asked).map(|_| ()).map_err(expected)),
            Statement::Retry { label, at } => {
                let op = self.script.operations.find(label);
                let op = op.ok_or_else(|| expected(format!("nothing was begun as `{label}`")))?;
                self.attempt(op, *at).map_err(expected)
            }
            Statement::OpenSession { name, asked } => {
                let op = self.open_session(name, asked).map_err(expected)?;
                self.hear(op, &Wanted::Ok { value: None, decree: None })
            }
            Statement::Expect { condition, when } => self.expect(condition, *when),
            Statement::Advance(span) => self.advance(*span),
            Statement::Mark => {
                self.script.mark();
                Ok(())
            }
            Statement::Settle => self.settle(),
            _ => Ok(()),
        }
    }

    /// The index of a machine that is there.
    fn known(&self, machine: usize) -> Result<usize, Violation> {
        let count = self.machines.len();
        if machine < count { Ok(machine) } else { Err(expected(format!("there are only {count} nodes"))) }
    }

    fn running(&self, machine: usize) -> Result<usize, Violation> {
        let index = self.known(machine)?;
        match self.machines[index].process {
            Some(_) => Ok(index),
            None => Err(expected(format!("r{} does not run", index + 1))),
        }
    }

    fn stop(&mut self, machine: usize) -> Checked {
        let index = self.running(machine)?;
        self.hand_in(index, Event::Stop);
        self.wait(PATIENCE, |world| {
            Ok(match world.machines[index].process {
                None => Judgement::Holds,
                Some(_) => Judgement::NotYet("it has not stopped".to_owned()),
            })
        })
    }

    /// Everything starts; the app is created, and has all the members that these machines can give it.
    fn form(&mut self, machines: &[usize]) -> Checked {
        self.start_meta()?;
        for &machine in machines {
            let index = self.known(machine)?;
            self.start(index)?;
        }
        // All of them are known before there is anything to place.
        self.advance(Duration::from_millis(100))?;
        let create = AdminRequest::CreateApp {
            name: APP_NAME.to_owned(),
            app_type: APP_TYPE.to_owned(),
            partition_count: self.plan.partitions,
            replica_count: self.plan.replicas,
        };
        self.administrate(create, false)?;
        let members = machines.len().min(self.plan.replicas as usize);
        for gpid in self.gpids.clone() {
            self.wait(PATIENCE, |world| {
                let configuration = world.meta.configuration(gpid).cloned().unwrap_or_default();
                let whole = configuration.len() == members && world.readers(gpid).len() == 1;
                Ok(if whole { Judgement::Holds } else { Judgement::NotYet("it has not formed".to_owned()) })
            })?;
        }
        // The news is everywhere.
        self.advance(Duration::from_millis(300))?;
        self.script.mark();
        Ok(())
    }

    fn strike_party(&mut self, party: Party, kind: StrikeKind, at: Option<&Pattern>) -> Checked {
        let Party::Machine(machine) = party else {
            self.crash_meta();
            return Ok(());
        };
        let index = self.running(machine)?;
        match at {
            Some(pattern) => {
                let order = Order::Strike(index, kind);
                self.script.arms.push(Arm { pattern: pattern.clone(), order, left: 1 });
            }
            None => self.strike(index, kind.strike(), false),
        }
        Ok(())
    }

    /// A node that runs dies, and something of what it had is gone.
    fn wreck(&mut self, machine: usize, loss: Loss) -> Checked {
        let index = self.running(machine)?;
        self.crash(index, loss);
        Ok(())
    }

    fn cut(&mut self, link: Link) -> Checked {
        let ends = |party: Option<Party>| -> Vec<usize> {
            match party {
                None => (0..=self.machines.len()).collect(),
                Some(Party::Meta) => vec![self.network.meta()],
                Some(Party::Machine(machine)) => vec![machine],
            }
        };
        let (senders, receivers) = (ends(link.from), ends(link.to));
        for &from in &senders {
            for &to in receivers.iter().filter(|&&to| to != from) {
                self.network.cut(from, to, Moment::NEVER);
                if link.both_ways {
                    self.network.cut(to, from, Moment::NEVER);
                }
            }
        }
        Ok(())
    }

    fn administrate(&mut self, request: AdminRequest, refused: bool) -> Checked {
        self.script.admin = None;
        self.ask_meta(request);
        self.wait(PATIENCE, |world| {
            Ok(match &world.script.admin {
                None => Judgement::NotYet("the operator got no answer".to_owned()),
                Some(AdminReply::Refused(_)) if refused => Judgement::Holds,
                Some(AdminReply::Refused(refusal)) => {
                    Judgement::Never(format!("refused: {}", refusal.message))
                }
                Some(reply) if refused => Judgement::Never(format!("not refused: {reply:?}")),
                Some(_) => Judgement::Holds,
            })
        })
    }

    /// An operator asks what is lost, and hears of so many partitions.
    fn diagnose(&mut self, lost: usize) -> Checked {
        self.administrate(AdminRequest::Diagnose, false)?;
        match &self.script.admin {
            Some(AdminReply::Diagnosis(found)) if found.lost.len() == lost => Ok(()),
            found => Err(expected(format!("{lost} lost partitions, found {found:?}"))),
        }
    }

    /// An operation that must come to something: to what is wanted at its one attempt, or, if nothing is said or
    /// it is to be done, to being done, however often it is refused before.
    fn operate(&mut self, asked: &Asked, wanted: Option<&Wanted>) -> Checked {
        let op = self.begin_operation(None, asked).map_err(expected)?;
        let done = Wanted::Ok { value: None, decree: None };
        let wanted = wanted.unwrap_or(&done);
        let persistent = matches!(wanted, Wanted::Ok { .. }) && asked.at.is_none();
        let until = self.now + PATIENCE;
        loop {
            self.wait(PATIENCE, |world| {
                Ok(match world.script.operations.outcome(op) {
                    Outcome::Pending => Judgement::NotYet("no answer came".to_owned()),
                    _ => Judgement::Holds,
                })
            })?;
            let refused = matches!(self.script.operations.outcome(op), Outcome::Refused(_));
            if !persistent || !refused || self.now >= until {
                return self.hear(op, wanted);
            }
            self.advance(AGAIN)?;
            self.attempt(op, None).map_err(expected)?;
        }
    }

    /// The answer that came is what was wanted.
    fn hear(&mut self, op: OpId, wanted: &Wanted) -> Checked {
        self.wait(PATIENCE, |world| {
            Ok(match world.script.operations.outcome(op) {
                outcome if wanted.is_met_by(&outcome) => Judgement::Holds,
                Outcome::Pending => Judgement::NotYet("no answer came".to_owned()),
                outcome => Judgement::Never(format!("the answer is {outcome}")),
            })
        })
    }

    /// A write and a read succeed.
    pub(super) fn serve(&mut self, gpid: Gpid) -> Checked {
        for request in [Request::Add { key: b'z', amount: 1 }, Request::Read { key: b'z' }] {
            self.operate(&Asked { gpid, request: Some(request), session: None, at: None }, None)?;
        }
        Ok(())
    }
}
